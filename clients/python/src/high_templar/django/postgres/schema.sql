-- The log and the outbox of high-templar, version 1. Applying this again changes nothing.

DO $ht$ BEGIN
  -- Not IF NOT EXISTS, which needs the right to create schemas even where there is one.
  IF to_regnamespace('{schema}') IS NULL THEN
    CREATE SCHEMA {schema};
  END IF;
END $ht$;

-- One row: the last position of the log. Appending locks it, so positions are in the order of commits.
CREATE TABLE IF NOT EXISTS {schema}.ht_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version integer NOT NULL,
  -- Names this log; another one where it was made anew.
  epoch integer NOT NULL DEFAULT floor(random() * 1073741824)::integer,
  pos bigint NOT NULL DEFAULT 0,
  -- Whether whoever moves the outbox waits to be notified of a new row.
  sleeping boolean NOT NULL DEFAULT false
) WITH (fillfactor = 10);

INSERT INTO {schema}.ht_head (version) VALUES (1) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS {schema}.ht_log (
  pos bigint PRIMARY KEY,
  -- 0: a trigger or a command, 1: a note of a node, 2: a probe.
  kind smallint NOT NULL,
  key text,
  body bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);

-- What publishers insert in their own transactions: the JSON of a trigger or a command.
CREATE TABLE IF NOT EXISTS {schema}.ht_outbox (
  n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  body text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Appends entries in this order. Returns the position of the first; the others follow one by one.
CREATE OR REPLACE FUNCTION {schema}.ht_append(kinds smallint[], keys text[], bodies bytea[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $ht$
DECLARE
  size bigint := cardinality(bodies);
  last bigint;
BEGIN
  UPDATE {schema}.ht_head SET pos = pos + size RETURNING pos INTO STRICT last;
  INSERT INTO {schema}.ht_log (pos, kind, key, body)
    SELECT last - size + given.nth, given.kind, given.key, given.body
    FROM unnest(kinds, keys, bodies) WITH ORDINALITY AS given (kind, key, body, nth);
  PERFORM pg_notify('{channel}', '');
  RETURN last - size + 1;
END $ht$;

-- Moves committed rows of the outbox to the log, by their numbers: at most this many, and bytes.
-- Returns how many. Numbers are given when rows are inserted. So a row that was committed before
-- another one was inserted comes first, however long its transaction was open.
CREATE OR REPLACE FUNCTION {schema}.ht_move(rows_max integer, bytes_max bigint)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $ht$
DECLARE
  bodies bytea[];
BEGIN
  IF NOT EXISTS (SELECT FROM {schema}.ht_outbox) THEN
    RETURN 0;
  END IF;
  -- One at a time, whoever calls it.
  PERFORM FROM {schema}.ht_head FOR UPDATE;
  WITH oldest AS (
    SELECT n, body FROM {schema}.ht_outbox ORDER BY n LIMIT rows_max FOR UPDATE SKIP LOCKED
  ), measured AS (
    SELECT n, sum(octet_length(body)) OVER (ORDER BY n) - octet_length(body) AS before FROM oldest
  ), taken AS (
    DELETE FROM {schema}.ht_outbox AS outbox USING measured
    WHERE outbox.n = measured.n AND measured.before < bytes_max
    RETURNING outbox.n, outbox.body
  )
  SELECT array_agg(convert_to(body, 'UTF8') ORDER BY n) INTO bodies FROM taken;
  IF bodies IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM {schema}.ht_append(
    array_fill(0::smallint, ARRAY[cardinality(bodies)]),
    array_fill(NULL::text, ARRAY[cardinality(bodies)]),
    bodies
  );
  RETURN cardinality(bodies);
END $ht$;

-- Deletes the oldest records, after this position, that are beyond this age or number: at most this
-- many, and never the last one. Returns how many, and the position up to which none are left.
CREATE OR REPLACE FUNCTION {schema}.ht_trim(
  above bigint, age interval, keep bigint, rows_max integer, OUT trimmed bigint, OUT upto bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $ht$
DECLARE
  head bigint := (SELECT pos FROM {schema}.ht_head);
BEGIN
  SELECT max(oldest.pos) INTO upto
    FROM (
      SELECT pos, at FROM {schema}.ht_log WHERE pos > above ORDER BY pos LIMIT rows_max
    ) AS oldest
    WHERE oldest.pos < head
      AND (oldest.pos <= head - keep OR oldest.at < clock_timestamp() - age);
  DELETE FROM {schema}.ht_log WHERE pos > above AND pos <= upto;
  GET DIAGNOSTICS trimmed = ROW_COUNT;
END $ht$;

-- Whether inserts into the outbox are to be notified of.
CREATE OR REPLACE FUNCTION {schema}.ht_sleep(asleep boolean)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $ht$
  UPDATE {schema}.ht_head SET sleeping = asleep WHERE sleeping <> asleep
$ht$;

-- Notifies of an insert while that is wanted: with many at once it would make commits wait for each
-- other.
CREATE OR REPLACE FUNCTION {schema}.ht_wake()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $ht$
BEGIN
  IF (SELECT sleeping FROM {schema}.ht_head) THEN
    PERFORM pg_notify('{channel}_outbox', '');
  END IF;
  RETURN NULL;
END $ht$;

DO $ht$ BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_trigger WHERE tgrelid = '{schema}.ht_outbox'::regclass AND tgname = 'ht_wake'
  ) THEN
    CREATE TRIGGER ht_wake AFTER INSERT ON {schema}.ht_outbox
      FOR EACH STATEMENT EXECUTE FUNCTION {schema}.ht_wake();
  END IF;
END $ht$;

REVOKE ALL ON FUNCTION
  {schema}.ht_append(smallint[], text[], bytea[]),
  {schema}.ht_move(integer, bigint),
  {schema}.ht_trim(bigint, interval, bigint, integer),
  {schema}.ht_sleep(boolean),
  {schema}.ht_wake()
FROM PUBLIC;
