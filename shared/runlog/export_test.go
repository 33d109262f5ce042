package runlog

// Kept is how many chunks the Log has in memory.
func (l *Log) Kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.chunks)
}
