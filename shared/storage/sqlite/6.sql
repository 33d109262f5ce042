-- The spans of one commit and trace, as they were committed. All else that is known of traces is read out of them behind the
-- commits (index.go): up to which row, indexed says.
CREATE TABLE packs (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	body BLOB NOT NULL -- pack.go, or a JSON array of spans
) STRICT;
INSERT INTO packs (n, tenant, body) SELECT n, tenant, CASE
	WHEN root IS NULL THEN others
	WHEN others IS NULL THEN CAST('[' || CAST(root AS TEXT) || ']' AS BLOB)
	ELSE CAST('[' || CAST(root AS TEXT) || ',' || substr(CAST(others AS TEXT), 2) AS BLOB)
END FROM spans WHERE root IS NOT NULL OR others IS NOT NULL ORDER BY n;
DROP TABLE spans;
DROP TABLE traces;
DELETE FROM outlines;
DELETE FROM counters WHERE kind = 'traces';

CREATE TABLE indexed (n INTEGER NOT NULL) STRICT;
INSERT INTO indexed VALUES (0);

-- The packs of a trace.
CREATE TABLE traced (
	tenant TEXT NOT NULL,
	trace TEXT NOT NULL,
	n INTEGER NOT NULL, -- of packs
	at INTEGER NOT NULL, -- of outlines
	summary INTEGER, -- n of traces where the pack has a root, else null
	PRIMARY KEY (tenant, trace, n)
) STRICT, WITHOUT ROWID;

-- The columns of a trace's root span that lists filter and sort by.
CREATE TABLE traces (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	trace TEXT NOT NULL,
	pack INTEGER NOT NULL, -- that the root is in
	started INTEGER NOT NULL,
	ended INTEGER NOT NULL,
	status TEXT NOT NULL,
	span_type TEXT NOT NULL,
	name TEXT NOT NULL,
	entity_type TEXT NOT NULL,
	entity_id TEXT NOT NULL,
	entity_name TEXT NOT NULL,
	run TEXT NOT NULL,
	thread TEXT NOT NULL,
	resource TEXT NOT NULL,
	tags TEXT -- a JSON array
) STRICT;
-- Further columns let what is asked for most be counted without the rows.
CREATE INDEX traces_started ON traces (tenant, started, entity_type, status);
CREATE INDEX traces_entity ON traces (tenant, entity_id, started, entity_type);
CREATE INDEX traces_name ON traces (tenant, entity_name, started, entity_type);
CREATE INDEX traces_run ON traces (tenant, run) WHERE run != '';
CREATE INDEX traces_thread ON traces (tenant, thread, started) WHERE thread != '';
CREATE INDEX traces_resource ON traces (tenant, resource, started) WHERE resource != '';
CREATE INDEX traces_failed ON traces (tenant, status, started) WHERE status != 'success';
