"""How a partner comes in and renews its certificate: messages to and from ``proto.v1`` bytes.

As in ``consortium.codec``, every bound is checked on the way in.
"""

from consortium import bounds
from consortium.messages import Enrolled, EnrolmentRequest, Renewal, Renewed
from proto.v1 import enrolment_pb2, federation_pb2

ENROLMENT_SERVICE = "riskweave.v1.Enrolment"


def encode_enrolment_request(request: EnrolmentRequest) -> bytes:
    """Bytes of the one message that a partner sends before it has a certificate."""
    return enrolment_pb2.EnrolRequest(
        protocol_version=request.protocol_version,
        partner=request.partner,
        token=request.token,
        csr=request.csr,
        identity=request.identity,
        agreement=request.agreement,
        witness=request.witness,
        signature=request.signature,
    ).SerializeToString()


def decode_enrolment_request(data: bytes) -> EnrolmentRequest:
    """Parse; the signature, the token and the CSR are not looked into.

    Raises:
        MessageTooLargeError, VersionError, DecodeError. Fault: the node.
    """
    wire = bounds.parse(enrolment_pb2.EnrolRequest, data, bounds.SMALL_LIMIT)
    return EnrolmentRequest(
        protocol_version=bounds.version(wire.protocol_version),
        partner=bounds.partner(wire.partner),
        token=bounds.exactly(wire.token, "token", bounds.KEY_BYTES),
        csr=bounds.within(wire.csr, "csr", bounds.SMALL_LIMIT),
        identity=bounds.exactly(wire.identity, "identity", bounds.KEY_BYTES),
        # A regulator agrees on nothing: it has no such key (protocol 2.1).
        agreement=wire.agreement
        and bounds.exactly(wire.agreement, "agreement", bounds.KEY_BYTES),
        witness=bounds.exactly(wire.witness, "witness", bounds.KEY_BYTES),
        signature=bounds.exactly(wire.signature, "signature", bounds.SIGNATURE_BYTES),
    )


def encode_enrolled(enrolled: Enrolled) -> bytes:
    """Bytes of the answer to an enrolment request."""
    return enrolment_pb2.EnrolReply(
        certificate=enrolled.certificate, address=enrolled.address
    ).SerializeToString()


def decode_enrolled(data: bytes) -> Enrolled:
    """Parse; the certificate (X.509, DER) is not looked into.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(enrolment_pb2.EnrolReply, data, bounds.SMALL_LIMIT)
    return Enrolled(
        certificate=bounds.within(wire.certificate, "certificate", bounds.SMALL_LIMIT),
        address=bounds.text(wire.address, "address", bounds.LONG_TEXT),
    )


def encode_renewal(renewal: Renewal) -> bytes:
    """Bytes of a request for another certificate."""
    return federation_pb2.RenewRequest(
        csr=renewal.csr, signature=renewal.signature
    ).SerializeToString()


def decode_renewal(data: bytes) -> Renewal:
    """Parse; neither the CSR nor the signature is looked into.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the node.
    """
    wire = bounds.parse(federation_pb2.RenewRequest, data, bounds.SMALL_LIMIT)
    return Renewal(
        csr=bounds.within(wire.csr, "csr", bounds.SMALL_LIMIT),
        signature=bounds.exactly(wire.signature, "signature", bounds.SIGNATURE_BYTES),
    )


def encode_renewed(renewed: Renewed) -> bytes:
    """Bytes of the answer to a renewal."""
    return federation_pb2.RenewReply(
        certificate=renewed.certificate, until=renewed.until
    ).SerializeToString()


def decode_renewed(data: bytes) -> Renewed:
    """Parse; the certificate (X.509, DER) is not looked into.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(federation_pb2.RenewReply, data, bounds.SMALL_LIMIT)
    return Renewed(
        certificate=bounds.within(wire.certificate, "certificate", bounds.SMALL_LIMIT),
        until=wire.until,
    )
