"""The credit desk of one partner: rules are of ``consortium.credit``, business is here."""
