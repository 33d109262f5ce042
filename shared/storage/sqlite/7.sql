-- A run that sleeps is active, too: whoever takes over what others left behind looks for both.
DROP INDEX runs_running;
CREATE INDEX runs_active ON runs (tenant, id) WHERE status IN ('running', 'waiting');
