package translate

import (
	"errors"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/translate/urlpath"
	"github.com/portico-bff/portico/upstream"
)

// uploadPart bounds the data in one message of an upload.
const uploadPart = 64 << 10

// upload answers a request whose body is data for a client-streaming method: its parts, as they come, become the
// google.api.HttpBody of one message each. All of them have the type of the data, and what path and query bind, so that
// rules see it in each. A part is read when the service has taken the one before.
func (rt *Router) upload(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) {
	system, err := to.setURL(to.builder.New(), r, p)
	var asked asked
	if err == nil {
		asked.answer, err = to.selectAnswer(r, system)
	}
	if err == nil {
		asked.format, err = to.answerFormat(r, rawFormat)
	}
	limit, timeoutErr := clientTimeout(r.Header)
	body, bodyErr := openBody(w, r, rt.maxBody)
	if err := errors.Join(err, timeoutErr, bodyErr); err != nil {
		Refuse(w, r, err)
		return
	}
	ctx, cancel := within(r.Context(), limit)
	defer cancel()
	up, err := rt.caller.Open(ctx, to.method)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	var reply upstream.Reply
	if err = rt.sendParts(r, to, p, body, up); err == nil {
		reply, err = only(up)
	}
	rt.reply(w, r, asked, reply, err)
}

// sendParts sends a body upstream, part by part. Without any data it sends one message.
func (rt *Router) sendParts(r *http.Request, to *route, p *urlpath.Path, body io.Reader, up upstream.Stream) error {
	part := make([]byte, uploadPart)
	for first := true; ; first = false {
		n, readErr := body.Read(part)
		last := errors.Is(readErr, io.EOF)
		if readErr != nil && !last {
			return readError(readErr, rt.maxBody)
		}
		if n > 0 || first && last {
			composed, err := to.compose(r, p, part[:n], rawFormat)
			if err != nil {
				return err
			}
			if err := up.Send(composed.message); errors.Is(err, io.EOF) {
				return nil // the call has ended; Recv tells why
			} else if err != nil {
				return err
			}
		}
		if last {
			return up.CloseSend()
		}
	}
}

// only receives the one answer of a client-streaming call. With an error it returns the metadata that came with it.
func only(up upstream.Stream) (upstream.Reply, error) {
	message, err := up.Recv()
	switch {
	case err == nil:
		if _, err = up.Recv(); err == nil {
			err = miscounted("two answers")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	case errors.Is(err, io.EOF):
		err = miscounted("no answer")
	}
	header, _ := up.Header() // that there is none is no news
	return upstream.Reply{Message: message, Header: header, Trailer: up.Trailer()}, err
}

func miscounted(what string) error {
	return fault.New(codes.Internal, "", fault.WithBlame(fault.Upstream), fault.WithCause(errors.New("the service has sent "+what)))
}
