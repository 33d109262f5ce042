-- What lists of spans, metrics and their aggregates are read from: the spans of one commit and trace without their contents.
CREATE TABLE outlines (
	tenant TEXT NOT NULL,
	at INTEGER NOT NULL, -- when the first of them started
	n INTEGER NOT NULL, -- of spans
	body BLOB NOT NULL,
	PRIMARY KEY (tenant, at, n)
) STRICT, WITHOUT ROWID;
ALTER TABLE spans ADD COLUMN at INTEGER; -- of outlines

CREATE INDEX traces_entity ON traces (tenant, entity_type, entity_id, started, entity_name); -- its last column lets a name be counted
CREATE INDEX traces_run ON traces (tenant, run) WHERE run != '';
CREATE INDEX traces_thread ON traces (tenant, thread, started) WHERE thread != '';
CREATE INDEX traces_resource ON traces (tenant, resource, started) WHERE resource != '';
CREATE INDEX traces_failed ON traces (tenant, status, started) WHERE status != 'success';

ALTER TABLE scores ADD COLUMN entity_type TEXT NOT NULL DEFAULT '';
ALTER TABLE scores ADD COLUMN entity TEXT NOT NULL DEFAULT '';
CREATE INDEX scores_entity ON scores (tenant, kind, entity_type, entity, created) WHERE entity != '';

-- Names that spans have had.
CREATE TABLE names (
	tenant TEXT NOT NULL,
	kind TEXT NOT NULL, -- entity, tag
	entity_type TEXT NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (tenant, kind, entity_type, text)
) STRICT, WITHOUT ROWID;
