-- The work of the local queue, of all tenants: whoever takes it does not know whose it is before.
CREATE TABLE work (
	n INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	due INTEGER NOT NULL, -- or hidden until then, Unix milliseconds
	receipt TEXT NOT NULL, -- of whoever has it
	attempts INTEGER NOT NULL,
	dead INTEGER NOT NULL,
	reason TEXT NOT NULL,
	body BLOB NOT NULL
) STRICT;
CREATE INDEX work_due ON work (due) WHERE dead = 0;
