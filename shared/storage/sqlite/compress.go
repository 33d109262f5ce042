package sqlite

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
)

// compressed marks a compressed body. What is stored as it is, as all bodies once were, begins otherwise.
const compressed = 1

// minCompressed is the size in bytes below which a body is stored as it is: it hardly saves a page.
const minCompressed = 1024

// compress makes a body smaller: traces and streams say the same things many times over, and a page less in the log and in the
// file costs less than this does.
func compress(body []byte) []byte {
	if len(body) < minCompressed {
		return body
	}
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	*room = appendCompressed((*room)[:0], body)
	return bytes.Clone(*room)
}

func appendCompressed(to, body []byte) []byte {
	if len(body) < minCompressed {
		return append(to, body...)
	}
	to = slices.Grow(append(to, compressed), s2.MaxEncodedLen(len(body)))
	return to[:len(to)+len(s2.Encode(to[len(to):cap(to)], body))]
}

// rooms is where bodies are compressed: what comes of it is far smaller.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// maxBody is more bytes than any body has: damage is not to take all memory.
const maxBody = 1 << 28

func decompress(stored []byte) ([]byte, error) {
	if len(stored) == 0 || stored[0] != compressed {
		return stored, nil
	}
	n, err := s2.DecodedLen(stored[1:])
	if err == nil && n > maxBody {
		err = s2.ErrTooLarge
	}
	var body []byte
	if err == nil {
		body, err = s2.Decode(nil, stored[1:])
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: a stored body is damaged: %w", err)
	}
	return body, nil
}
