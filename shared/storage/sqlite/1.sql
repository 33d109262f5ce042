-- Every row and index begins with the tenant; api_keys alone are read before a tenant is known.
-- n is the order of insertion. Bodies stand last, so that a scan over the columns before them does not load their pages.

CREATE TABLE counters (
	tenant TEXT NOT NULL,
	kind TEXT NOT NULL, -- threads, runs, traces
	name TEXT NOT NULL, -- of runs: the workflow
	total INTEGER NOT NULL,
	PRIMARY KEY (tenant, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE threads (
	tenant TEXT NOT NULL,
	id TEXT NOT NULL,
	resource TEXT NOT NULL,
	created INTEGER NOT NULL,
	updated INTEGER NOT NULL,
	messages INTEGER NOT NULL, -- how many it has
	title TEXT NOT NULL,
	metadata BLOB,
	PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX threads_resource ON threads (tenant, resource, updated);

CREATE TABLE messages (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	id TEXT NOT NULL,
	thread TEXT NOT NULL,
	created INTEGER NOT NULL,
	role TEXT NOT NULL,
	resource TEXT NOT NULL,
	type TEXT NOT NULL,
	content BLOB
) STRICT;
CREATE UNIQUE INDEX messages_id ON messages (tenant, id);
CREATE INDEX messages_thread ON messages (tenant, thread, created);

CREATE TABLE runs (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	id TEXT NOT NULL,
	workflow TEXT NOT NULL,
	resource TEXT NOT NULL,
	status TEXT NOT NULL,
	created INTEGER NOT NULL,
	fence INTEGER NOT NULL,
	owner TEXT NOT NULL,
	lease INTEGER NOT NULL, -- until when, Unix milliseconds
	head BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_id ON runs (tenant, id);
CREATE INDEX runs_workflow ON runs (tenant, workflow, created);
CREATE INDEX runs_running ON runs (tenant, id) WHERE status = 'running';

-- What a run begins with, apart from its head: a checkpoint does not write it again.
CREATE TABLE run_inputs (
	n INTEGER PRIMARY KEY, -- of runs
	tenant TEXT NOT NULL,
	context BLOB,
	input BLOB,
	graph BLOB
) STRICT;

CREATE TABLE steps (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	run TEXT NOT NULL,
	key TEXT NOT NULL,
	result BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX steps_run ON steps (tenant, run, key);

CREATE TABLE claims (
	tenant TEXT NOT NULL,
	key TEXT NOT NULL,
	expires INTEGER NOT NULL,
	lease INTEGER NOT NULL,
	owner TEXT NOT NULL,
	status TEXT NOT NULL,
	run TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	state BLOB,
	PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- The columns of a trace's root span that lists filter and sort by. The span itself is in spans.
CREATE TABLE traces (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	trace TEXT NOT NULL,
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
CREATE INDEX traces_started ON traces (tenant, started);

-- One row holds the spans of one trace that were committed together.
CREATE TABLE spans (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	trace TEXT NOT NULL,
	summary INTEGER, -- n of traces where the row has a root, else null
	root BLOB, -- a span
	others BLOB -- an array of spans
) STRICT;
CREATE INDEX spans_trace ON spans (tenant, trace, summary);

-- Scores and feedback.
CREATE TABLE scores (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	kind TEXT NOT NULL, -- score, feedback
	id TEXT NOT NULL,
	created INTEGER NOT NULL,
	trace TEXT NOT NULL,
	span TEXT NOT NULL,
	scorer TEXT NOT NULL,
	run TEXT NOT NULL,
	body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX scores_id ON scores (tenant, kind, id);
CREATE INDEX scores_created ON scores (tenant, kind, created);
CREATE INDEX scores_trace ON scores (tenant, kind, trace, created) WHERE trace != '';
CREATE INDEX scores_scorer ON scores (tenant, kind, scorer, created) WHERE scorer != '';
CREATE INDEX scores_run ON scores (tenant, kind, run, created) WHERE run != '';

CREATE TABLE api_keys (
	hash TEXT NOT NULL PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	created INTEGER NOT NULL,
	body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
