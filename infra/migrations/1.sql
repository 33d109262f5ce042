-- The catalog of vector indexes. Each index has a table of its own, vectors_<id>, which the store makes with it.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE SCHEMA IF NOT EXISTS mastralambda;

CREATE TABLE IF NOT EXISTS mastralambda.vector_indexes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  dimension integer NOT NULL,
  metric text NOT NULL,
  type text NOT NULL,
  options jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (tenant, name)
);

-- On RDS the functions sign in as this role, through IAM. It keeps no idle session, so that Aurora can pause.
DO $do$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam') THEN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mastra_vectors') THEN
      CREATE ROLE mastra_vectors LOGIN;
    END IF;
    GRANT rds_iam TO mastra_vectors;
    GRANT USAGE, CREATE ON SCHEMA mastralambda TO mastra_vectors;
    GRANT SELECT, INSERT, UPDATE, DELETE ON mastralambda.vector_indexes TO mastra_vectors;
    ALTER ROLE mastra_vectors SET idle_session_timeout = '60s';
  END IF;
END $do$;
