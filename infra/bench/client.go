package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// conn is one HTTP/1.1 connection that is used again and again. The load generator shares the cores with what it measures,
// so that a request is bytes made beforehand and an answer is read with as little work as can be. Not for concurrent use.
type conn struct {
	address string
	net     net.Conn
	reader  *bufio.Reader
	body    []byte
	mark    []byte    // what a chunk is awaited with, nil for none
	marked  time.Time // when it came
}

const (
	patience   = time.Minute // for one answer
	maxMessage = 64 << 20
)

// dial connects when the first request is sent.
func dial(address string) *conn {
	return &conn{address: address, reader: bufio.NewReaderSize(nil, 64<<10)}
}

func (c *conn) close() {
	if c.net != nil {
		_ = c.net.Close()
		c.net = nil
	}
}

// do sends a request and reads the whole answer. The body is valid until the next call.
func (c *conn) do(ctx context.Context, request []byte) (status int, body []byte, err error) {
	if c.net == nil {
		if c.net, err = (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", c.address); err != nil {
			c.net = nil
			return 0, nil, err
		}
		c.reader.Reset(c.net)
	}
	if err := c.net.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	keep := false
	if _, err = c.net.Write(request); err == nil {
		status, keep, err = c.read()
	}
	if err != nil || !keep {
		c.close()
	}
	return status, c.body, err
}

// read parses an answer into c.body; keep says that the connection stays open.
func (c *conn) read() (status int, keep bool, err error) {
	c.body, c.marked = c.body[:0], time.Time{}
	line, err := c.line()
	if err != nil {
		return 0, false, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, false, fmt.Errorf("not an answer of HTTP/1.1: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, false, fmt.Errorf("no status: %q", line)
	}
	length, chunked, keep := -1, false, true
	for {
		if line, err = c.line(); err != nil {
			return 0, false, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxMessage {
				return 0, false, fmt.Errorf("content-length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			keep = !bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case chunked:
		err = c.readChunks()
	case length >= 0:
		err = c.readBody(length)
	default:
		err = errors.New("an answer without a length")
	}
	return status, keep, err
}

func (c *conn) line() ([]byte, error) {
	line, err := c.reader.ReadSlice('\n')
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), err
}

// readBody appends n bytes to the body.
func (c *conn) readBody(n int) error {
	have := len(c.body)
	if have+n > maxMessage {
		return errors.New("the answer is too long")
	}
	if cap(c.body) < have+n {
		grown := make([]byte, have, max(have+n, 2*cap(c.body)))
		copy(grown, c.body)
		c.body = grown
	}
	c.body = c.body[:have+n]
	_, err := io.ReadFull(c.reader, c.body[have:])
	return err
}

func (c *conn) readChunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(digits), 16, 31)
		if err != nil || n > maxMessage {
			return fmt.Errorf("chunk size %q", line)
		}
		if err := c.readBody(int(n)); err != nil {
			return err
		}
		if c.mark != nil && c.marked.IsZero() && bytes.Contains(c.body, c.mark) {
			c.marked = time.Now()
		}
		for { // the line end of a chunk, or the trailer after the last one
			if line, err = c.line(); err != nil {
				return err
			}
			if len(line) == 0 {
				break
			}
			if n > 0 {
				return errors.New("a chunk is longer than its size")
			}
		}
		if n == 0 {
			return nil
		}
	}
}

// request is the bytes of a request.
func request(method, path, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n", method, path)
	if method != "GET" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}
