package edge

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A connection with deadlines that are only noted behaves as one whose deadlines are all set: reads and writes end at the
// same time with the same result, whatever is set before and meanwhile. Each byte is something to do, at its time.
func FuzzTimedConn(f *testing.F) {
	for _, seed := range []string{
		"\x03\x10", "\x05\x03\x20", "\x03\x05\x30", "\x09\x10\x00\x20", "\x03\x09\x10\x00\x07\x30", "\x05\x10\x03\x10\x09\x10\x00\x10",
		"\x83\x90", "\x85\x83\xa0", "\x89\x80\x90\xf0", "\x03\xf8\x10\x05\x10", "\x03\x04\x05\x06\x07\x10\x20\x30\x40\x50", "\x10\x03\x3f\x10\x3f\x09\x00\x07\x10",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 64 {
			t.Skip()
		}
		plain := play(t, script, func(c net.Conn) net.Conn { return c })
		timed := play(t, script, func(c net.Conn) net.Conn { return newTimedConn(c) })
		if plain != timed {
			t.Errorf("script %x:\nplain:\n%s\ntimed:\n%s", script, plain, timed)
		}
	})
}

// play does what the script says with a connection, and tells how each read and write ended, and when.
func play(t *testing.T, script []byte, wrap func(net.Conn) net.Conn) string {
	t.Helper()
	told := make([]string, len(script)) // by step
	synctest.Test(t, func(t *testing.T) {
		raw, other := net.Pipe()
		c, start := wrap(raw), time.Now()
		defer other.Close()
		defer c.Close()
		var busy [2]chan struct{} // reading, writing
		for i, step := range script {
			direction, set := 0, c.SetReadDeadline
			if step >= 0x80 {
				direction, set = 1, c.SetWriteDeadline
			}
			amount := int(step & 0xf)
			seconds := time.Duration(amount) * time.Second
			switch step >> 4 & 7 {
			case 0: // a deadline: none, one that is over, or one to come
				at := time.Now().Add(seconds)
				switch amount {
				case 0:
					at = time.Time{}
				case 9:
					at = time.Unix(1, 0)
				}
				_ = set(at)
			case 1, 2: // a read or a write that nobody answers, unless one is under way
				if busy[direction] != nil {
					select {
					case <-busy[direction]:
					default:
						continue
					}
				}
				done := make(chan struct{})
				busy[direction] = done
				go func() {
					defer close(done)
					var n int
					var err error
					if direction == 0 {
						n, err = c.Read(make([]byte, 4))
					} else {
						n, err = c.Write(make([]byte, 4))
					}
					if errors.Is(err, io.ErrClosedPipe) { // the script's end
						return
					}
					told[i] = fmt.Sprintf("%d: %d bytes, timeout %t, %v\n", i, n, errors.Is(err, os.ErrDeadlineExceeded), time.Since(start))
				}()
				synctest.Wait()
			case 3: // time passes
				time.Sleep(seconds + 500*time.Millisecond)
				synctest.Wait()
			case 4: // the other side sends, if somebody reads
				_ = other.SetWriteDeadline(time.Now().Add(time.Millisecond))
				_, _ = other.Write(make([]byte, amount%4+1))
				synctest.Wait()
			case 5: // or takes some of what is written
				_ = other.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, _ = other.Read(make([]byte, amount%4+1))
				synctest.Wait()
			}
		}
		_ = c.Close()
		synctest.Wait()
	})
	return strings.Join(told, "")
}

// Later deadlines do not reach the connection, and earlier ones do.
func TestDeadlinesSpared(t *testing.T) {
	t.Parallel()
	given := 0
	d := deadline{put: func(time.Time) error { given++; return nil }}
	now := time.Now()
	for i, step := range []struct {
		at   time.Time
		want int
	}{
		{now.Add(10 * time.Second), 1},
		{now.Add(120 * time.Second), 1},
		{time.Time{}, 1},
		{now.Add(11 * time.Second), 1},
		{time.Unix(1, 0), 2},
		{time.Time{}, 3},
		{now.Add(120 * time.Second), 3},
		{now.Add(9 * time.Second), 4},
		{time.Time{}, 4},
	} {
		if err := d.set(step.at); err != nil || given != step.want {
			t.Errorf("step %d: %d deadlines given, want %d; %v", i, given, step.want, err)
		}
	}
}

// The first piece of a large answer waits for the second, and both leave together.
func TestPiecesLeaveTogether(t *testing.T) {
	t.Parallel()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gathered := Gather(lis)
	defer gathered.Close()
	client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := gathered.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	c, ok := accepted.(*conn)
	if !ok {
		t.Fatalf("the connection is a %T", accepted)
	}
	c.hold()
	if n, err := c.Write(make([]byte, firstPiece)); n != firstPiece || err != nil {
		t.Fatalf("%d bytes written, %v", n, err)
	}
	_ = client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes came before the second piece, %v", n, err)
	}
	if n, err := c.Write(make([]byte, 1000)); n != 1000 || err != nil {
		t.Fatalf("%d bytes written, %v", n, err)
	}
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(client, make([]byte, firstPiece+1000)); err != nil {
		t.Error(err)
	}
}
