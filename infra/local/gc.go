package local

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// room is how many bytes the heap may grow by between two collections, at least: a heap of a few MB is collected all the time
// else, which costs a quarter of the throughput.
const room = 24 << 20

// settled is how long after its beginning a process gives back to the system what only that took.
const settled = 100 * time.Millisecond

// tuneGC sets how much the heap may grow before the next collection, at each collection anew: by four times what lives where
// that is little, by as much as lives where it is more than room.
func tuneGC() {
	percent := 0
	var tune func(*[64]byte)
	tune = func(*[64]byte) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if p := int(min(400, max(100, room*100/max(1, live[0].Value.Uint64())))); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		runtime.SetFinalizer(new([64]byte), tune)
	}
	tune(nil)
	time.AfterFunc(settled, debug.FreeOSMemory)
}
