package sqlite

import (
	"errors"
	"runtime"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite writes two small pieces for each page of its log. The writer's VFS is the system's own, except that its log gathers what a
// commit writes and writes it in one go when SQLite wants it synced (synchronous=FULL), which is before any other connection is shown
// it. Bringing a commit to the disk is left to the writer's goroutine; all other syncs (the log's head, a checkpoint's) are made.
const vfsName = "mastra"

// systemVFS is what openFile calls, as translated code keeps it.
var systemVFS struct{ vfs, open uintptr }

var registerVFS = sync.OnceValue(func() error {
	tls := libc.NewTLS() // the VFS lasts as long as the process
	system := sqlite3.Xsqlite3_vfs_find(tls, 0)
	name, err := libc.CString(vfsName)
	vfs := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if system == 0 || vfs == 0 || err != nil {
		return errors.New("no VFS can be made")
	}
	v := at[sqlite3.Tsqlite3_vfs](vfs)
	*v = *at[sqlite3.Tsqlite3_vfs](system)
	systemVFS.vfs, systemVFS.open = system, v.FxOpen
	v.FzName, v.FpNext, v.FxOpen = name, 0, pointer(openFile)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, vfs, 0); rc != sqlite3.SQLITE_OK {
		return errors.New("no VFS can be registered")
	}
	return nil
})

// walFile is an open log, used by one connection.
type walFile struct {
	system  *sqlite3.Tsqlite3_io_methods
	methods uintptr
	pending []byte // not written yet
	from    int64  // where it belongs
}

var walFiles sync.Map // of addresses of files to *walFile

const (
	maxPending = 1 << 20
	maxWrite   = 64 << 10 // the system's VFS writes less than 128 KB at once
)

func openFile(tls *libc.TLS, _, name, file uintptr, flags int32, out uintptr) int32 {
	rc := call[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](systemVFS.open)(tls, systemVFS.vfs, name, file, flags, out)
	if rc != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_WAL == 0 {
		return rc
	}
	methods := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})))
	if methods == 0 {
		return rc
	}
	f := at[sqlite3.Tsqlite3_file](file)
	w := &walFile{system: at[sqlite3.Tsqlite3_io_methods](f.FpMethods), methods: methods}
	m := at[sqlite3.Tsqlite3_io_methods](methods)
	*m = *w.system
	m.FxWrite, m.FxSync, m.FxRead = pointer(writeLog), pointer(syncLog), pointer(readLog)
	m.FxTruncate, m.FxFileSize, m.FxClose = pointer(truncateLog), pointer(sizeLog), pointer(closeLog)
	walFiles.Store(file, w)
	f.FpMethods = methods
	return rc
}

func walOf(file uintptr) *walFile {
	w, _ := walFiles.Load(file)
	return w.(*walFile)
}

func (w *walFile) write(tls *libc.TLS, file, data uintptr, n int, offset int64) int32 {
	return call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](w.system.FxWrite)(tls, file, data, int32(n), offset)
}

// flush writes what is pending.
func (w *walFile) flush(tls *libc.TLS, file uintptr) int32 {
	data, offset := w.pending, w.from
	defer runtime.KeepAlive(data)
	w.pending = w.pending[:0]
	for len(data) > 0 {
		n := min(len(data), maxWrite)
		if rc := w.write(tls, file, uintptr(unsafe.Pointer(&data[0])), n, offset); rc != sqlite3.SQLITE_OK {
			return rc
		}
		data, offset = data[n:], offset+int64(n)
	}
	return sqlite3.SQLITE_OK
}

func writeLog(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	w := walOf(file)
	if end := w.from + int64(len(w.pending)); len(w.pending) > 0 && (offset != end || len(w.pending) > maxPending) {
		if rc := w.flush(tls, file); rc != sqlite3.SQLITE_OK {
			return rc
		}
	}
	if offset == 0 { // the head, which SQLite syncs by itself
		return w.write(tls, file, data, int(n), 0)
	}
	if len(w.pending) == 0 {
		w.from = offset
	}
	w.pending = append(w.pending, unsafe.Slice(at[byte](data), n)...)
	return sqlite3.SQLITE_OK
}

func syncLog(tls *libc.TLS, file uintptr, flags int32) int32 {
	w := walOf(file)
	if len(w.pending) > 0 {
		return w.flush(tls, file)
	}
	return call[func(*libc.TLS, uintptr, int32) int32](w.system.FxSync)(tls, file, flags)
}

// flushed does what the system does, behind what is pending.
func flushed(tls *libc.TLS, file uintptr, do func(*sqlite3.Tsqlite3_io_methods) int32) int32 {
	w := walOf(file)
	if rc := w.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return do(w.system)
}

func readLog(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	return flushed(tls, file, func(m *sqlite3.Tsqlite3_io_methods) int32 {
		return call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](m.FxRead)(tls, file, data, n, offset)
	})
}

func truncateLog(tls *libc.TLS, file uintptr, size int64) int32 {
	return flushed(tls, file, func(m *sqlite3.Tsqlite3_io_methods) int32 {
		return call[func(*libc.TLS, uintptr, int64) int32](m.FxTruncate)(tls, file, size)
	})
}

func sizeLog(tls *libc.TLS, file, size uintptr) int32 {
	return flushed(tls, file, func(m *sqlite3.Tsqlite3_io_methods) int32 {
		return call[func(*libc.TLS, uintptr, uintptr) int32](m.FxFileSize)(tls, file, size)
	})
}

func closeLog(tls *libc.TLS, file uintptr) int32 {
	w := walOf(file)
	rc := w.flush(tls, file)
	walFiles.Delete(file)
	if closed := call[func(*libc.TLS, uintptr) int32](w.system.FxClose)(tls, file); rc == sqlite3.SQLITE_OK {
		rc = closed
	}
	libc.Xfree(tls, w.methods)
	return rc
}

// at is what lies at an address outside of Go's memory.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// call is the function behind a pointer as translated code keeps it; pointer is the other way round.
func call[F any](f uintptr) F    { return *(*F)(unsafe.Pointer(&f)) }
func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }
