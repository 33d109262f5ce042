-- A row of packs holds those of a transaction from now on, each with its tenant (packrow.go).
-- What finds traces, by segments: up to some hundred packs of a tenant, column by column (segment.go). It is read out of the packs anew.
DROP TABLE traces;
DROP TABLE traced;
DROP TABLE outlines;
DELETE FROM counters WHERE kind = 'traces';
UPDATE indexed SET n = 0;

CREATE TABLE segments (
	tenant TEXT NOT NULL,
	n INTEGER NOT NULL, -- of its last pack
	packs INTEGER NOT NULL, -- how many it holds
	spans INTEGER NOT NULL,
	roots INTEGER NOT NULL, -- that lists show
	first INTEGER NOT NULL, -- when the first of its spans started
	last INTEGER NOT NULL, -- when the last one did
	PRIMARY KEY (tenant, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE columns (
	tenant TEXT NOT NULL,
	kind INTEGER NOT NULL, -- segment.go
	n INTEGER NOT NULL, -- of segments
	body BLOB NOT NULL,
	PRIMARY KEY (tenant, kind, n)
) STRICT, WITHOUT ROWID;

-- Where the spans of a trace are.
CREATE TABLE traced (
	tenant TEXT NOT NULL,
	trace TEXT NOT NULL,
	packs BLOB NOT NULL, -- index.go
	PRIMARY KEY (tenant, trace)
) STRICT, WITHOUT ROWID;
