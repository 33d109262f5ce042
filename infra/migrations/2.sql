-- Who builds the indexes of a table has this long for it. A lock of the session would not do: behind a transaction pooler a
-- session is many connections.
ALTER TABLE mastralambda.vector_indexes ADD COLUMN IF NOT EXISTS building_until timestamptz;
