package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// conn is one connection. It reads of HTTP/1.1 (RFC 9112) only what it must, to leave the machine to the server: status,
// length and chunks.
type conn struct {
	net.Conn
	reader  *bufio.Reader
	request []byte
}

func newConn(c net.Conn, request []byte) *conn {
	return &conn{Conn: c, reader: bufio.NewReaderSize(c, 64<<10), request: request}
}

// do sends the request, reads the answer, and returns the length of its body. Any status but 200 is an error.
func (c *conn) do() (int64, error) {
	if _, err := c.Write(c.request); err != nil {
		return 0, err
	}
	length, err := c.head()
	if err != nil {
		return 0, err
	}
	if length == chunked {
		return c.chunks()
	}
	return c.skip(length)
}

// chunked stands for a length that is told piece by piece.
const chunked = -1

// head reads status and headers, and returns the length of the body.
func (c *conn) head() (int64, error) {
	line, err := c.line()
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return 0, c.refused(string(line))
	}
	length, known := int64(0), false
	for {
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil || length < 0 {
				return 0, fmt.Errorf("content-length %q", value)
			}
			known = true
		case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
			length, known = chunked, true
		}
	}
	if !known {
		return 0, errors.New("the answer does not tell its length")
	}
	return length, nil
}

// refused makes an error of an answer that is none, with the start of what is in it.
func (c *conn) refused(status string) error {
	rest, err := c.reader.Peek(c.reader.Buffered())
	if err != nil {
		return err
	}
	const most = 1 << 10
	return fmt.Errorf("%s: answered %s\n%s", c.RemoteAddr(), status, rest[:min(len(rest), most)])
}

// chunks skips a chunked body.
func (c *conn) chunks() (int64, error) {
	total := int64(0)
	for {
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		size, err := strconv.ParseInt(string(line), 16, 64)
		if err != nil || size < 0 {
			return 0, fmt.Errorf("chunk size %q", line)
		}
		if size == 0 {
			return total, c.trailers()
		}
		if _, err := c.skip(size); err != nil {
			return 0, err
		}
		if line, err := c.line(); err != nil || len(line) > 0 {
			return 0, errors.Join(fmt.Errorf("a chunk is longer than the %d bytes it claims", size), err)
		}
		total += size
	}
}

// trailers skips what follows the last chunk.
func (c *conn) trailers() error {
	for {
		line, err := c.line()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

// line reads a line without its end. It is valid until the next read.
func (c *conn) line() ([]byte, error) {
	line, err := c.reader.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), err
}

func (c *conn) skip(n int64) (int64, error) {
	_, err := c.reader.Discard(int(n))
	return n, err
}
