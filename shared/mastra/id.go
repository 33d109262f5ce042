package mastra

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// NewID is a UUID of version 7: it begins with the time, so that what is made together is stored together.
func NewID() string {
	b := newUUID()
	var s [36]byte
	hex.Encode(s[:], b[:4])
	hex.Encode(s[9:], b[4:6])
	hex.Encode(s[14:], b[6:8])
	hex.Encode(s[19:], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

func newUUID() (b [16]byte) {
	rand.Read(b[6:])
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(b[6])<<8|uint64(b[7]))
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return b
}

// NewTraceID is 16 bytes in hexadecimal, as in W3C trace context: like NewID, without dashes.
func NewTraceID() string {
	b := newUUID()
	return hex.EncodeToString(b[:])
}

// TraceOfRun is the id of the trace that a run begins whose id this program has made: the same without dashes, so that who knows the
// run knows its trace. It is "" where the id is no UUID.
func TraceOfRun(runID string) string {
	if len(runID) != 36 || runID[8] != '-' || runID[13] != '-' || runID[18] != '-' || runID[23] != '-' {
		return ""
	}
	id := strings.ReplaceAll(runID, "-", "")
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// SpanIDFrom is the id of the span of this name that belongs to another one: the same in whatever process makes or names it.
func SpanIDFrom(id, name string) string {
	h := uint64(14695981039346656037) // FNV-1a
	for _, s := range [...]string{id, name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd // spread over all bits
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], h^h>>33)
	return hex.EncodeToString(b[:])
}

// NewSpanID is 8 random bytes in hexadecimal.
func NewSpanID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
