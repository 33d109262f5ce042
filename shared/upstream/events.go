package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// Events reads server-sent events: the data of each, its lines joined. The data is valid until the next one. A stream that
// ends in the middle of an event ends with io.ErrUnexpectedEOF, a line longer than MaxAnswer with ErrTooLong.
func Events(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewReaderSize(r, 16<<10)
		var data, long []byte
		some := false
		for {
			line, err := in.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				if long = append(long, line...); len(long) > MaxAnswer {
					yield(nil, ErrTooLong)
					return
				}
				continue
			}
			if len(long) > 0 {
				line = append(long, line...)
				long = long[:0]
			}
			ended := err != nil // a last line without its end
			line = bytes.TrimRight(line, "\r\n")
			switch field, value, _ := bytes.Cut(line, []byte(":")); {
			case len(line) == 0:
				if some && !ended && !yield(data, nil) {
					return
				}
				if !ended {
					data, some = data[:0], false
				}
			case string(field) == "data":
				if some {
					data = append(data, '\n')
				}
				data, some = append(data, bytes.TrimPrefix(value, []byte(" "))...), true
				if len(data) > MaxAnswer {
					yield(nil, ErrTooLong)
					return
				}
			}
			if err == io.EOF && some {
				err = io.ErrUnexpectedEOF
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
