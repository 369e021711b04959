-- The shipped table as lines: one row a card and month end, April to September 2005.
-- A bank has what it billed and what was paid. PAY_n counts months of delay, so days past due
-- are thirty times it; a card was drawn by what its bill rose beyond what was paid. When it
-- was opened is not in the table, nor any later month: the label of October stands beside the
-- last month.
WITH card AS (
  SELECT *, [PAY_6, PAY_5, PAY_4, PAY_3, PAY_2, PAY_0] AS delays,
    [BILL_AMT6, BILL_AMT5, BILL_AMT4, BILL_AMT3, BILL_AMT2, BILL_AMT1] AS bills,
    [PAY_AMT6, PAY_AMT5, PAY_AMT4, PAY_AMT3, PAY_AMT2, PAY_AMT1] AS payments
  FROM read_csv('taiwan_default.csv.gz')
), month AS (
  SELECT *, unnest(range(1, 7)) AS k FROM card
), drawn AS (
  SELECT *, CASE WHEN k > 1 THEN bills[k - 1] ELSE bills[k] END AS before FROM month
)
SELECT printf('%06d', ID) AS line, ID::VARCHAR AS person,
  last_day(make_date(2005, (k + 3)::INT, 1)) AS month_end,
  DATE '2004-01-01' AS opened_on, 'OPEN' AS status,
  (100 * LIMIT_BAL)::BIGINT AS credit_limit, (100 * bills[k])::BIGINT AS balance,
  (100 * before)::BIGINT AS statement,
  (100 * greatest(0, ceil(before * 0.02)))::BIGINT AS due,
  (100 * payments[k])::BIGINT AS paid,
  (100 * greatest(0, bills[k] - before + payments[k]))::BIGINT AS debits,
  30 * greatest(0, delays[k])::BIGINT AS dpd,
  CASE WHEN k = 6 THEN default_next_month = 1 END AS outcome
FROM drawn ORDER BY line, month_end
