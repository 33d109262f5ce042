package mastra

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// NewID is a UUID of version 7: it begins with the time, so that what is made together is stored together.
func NewID() string {
	var b [16]byte
	rand.Read(b[6:])
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(b[6])<<8|uint64(b[7]))
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[:], b[:4])
	hex.Encode(s[9:], b[4:6])
	hex.Encode(s[14:], b[6:8])
	hex.Encode(s[19:], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// NewTraceID is 16 bytes in hexadecimal, as in W3C trace context: the time in seconds, then random ones.
func NewTraceID() string {
	var b [16]byte
	rand.Read(b[4:])
	binary.BigEndian.PutUint32(b[:4], uint32(time.Now().Unix()))
	return hex.EncodeToString(b[:])
}

// NewSpanID is 8 random bytes in hexadecimal.
func NewSpanID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
