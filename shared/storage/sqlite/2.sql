-- Blocks of runs' chunks, in the order they were written: the oldest expire first.
CREATE TABLE chunks (
	n INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	run TEXT NOT NULL,
	epoch INTEGER NOT NULL,
	seq INTEGER NOT NULL, -- of the last chunk
	count INTEGER NOT NULL,
	last INTEGER NOT NULL,
	expires INTEGER NOT NULL, -- 0: never
	resource TEXT NOT NULL,
	data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX chunks_run ON chunks (tenant, run, epoch, seq);
