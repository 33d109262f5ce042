package mastra

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID is a random UUID, version 4.
func NewID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[:], b[:4])
	hex.Encode(s[9:], b[4:6])
	hex.Encode(s[14:], b[6:8])
	hex.Encode(s[19:], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// NewTraceID is 16 random bytes and NewSpanID 8, in hexadecimal, as in W3C trace context.
func NewTraceID() string { return randomHex(16) }
func NewSpanID() string  { return randomHex(8) }

func randomHex(n int) string {
	var b [16]byte
	rand.Read(b[:n])
	return hex.EncodeToString(b[:n])
}
