// Package transcribe listens with Amazon Transcribe: a file goes to its streaming API, and the text comes back in the same
// request. Its batch API would need a bucket and minutes.
package transcribe

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// Config says what is heard. Credentials and region are those that the AWS SDK finds.
type Config struct {
	Language  string            // "en-US" where empty
	Transport http.RoundTripper // http.DefaultTransport where nil; it has to speak HTTP/2
	now       func() time.Time
}

// Voice is a mastra.Voice that listens.
type Voice struct {
	Config
	aws func() (aws.Config, error)
}

var _ mastra.Voice = (*Voice)(nil)

// New makes a voice. Nothing is read or sent before its first call.
func New(c Config) *Voice {
	c.Language = cmp.Or(c.Language, "en-US")
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	if c.now == nil {
		c.now = time.Now
	}
	return &Voice{c, sync.OnceValues(func() (aws.Config, error) {
		a, err := awsconfig.Load(context.Background())
		if err == nil && a.Region == "" {
			err = errors.New("no AWS region is configured: AWS_REGION")
		}
		return a, err
	})}
}

// Speakers are none.
func (v *Voice) Speakers(context.Context) ([]mastra.Speaker, error) { return nil, nil }

// Speak is refused.
func (v *Voice) Speak(context.Context, string, string) (*mastra.Audio, error) {
	return nil, mastra.Errorf(mastra.CodeInvalid, "This agent listens, but it does not speak")
}

// Listener says that it listens.
func (v *Voice) Listener() bool { return true }

// options of Listen.
type options struct {
	Language   string `json:"language"`   // "de-DE"
	SampleRate int    `json:"sampleRate"` // of raw samples, in Hz
}

const unsigned = "STREAMING-AWS4-HMAC-SHA256-EVENTS" // in place of a hash: each event is signed by itself

// Listen turns audio into text: WAV with samples of 16 bits, FLAC, Ogg Opus, or raw samples where the options name a
// sampleRate. Other formats are a CodeInvalid.
func (v *Voice) Listen(ctx context.Context, audio io.Reader, given mastra.JSON) (string, error) {
	var o options
	if given != nil {
		if err := schema.Unmarshal(given, &o); err != nil {
			return "", mastra.Invalid("options", "%v", err)
		}
	}
	data, err := io.ReadAll(audio)
	if err != nil {
		return "", err
	}
	sound, err := recognize(data, o.SampleRate)
	if err != nil {
		return "", err
	}
	body, request, err := v.request(ctx, cmp.Or(o.Language, v.Language), sound)
	if err != nil {
		return "", upstream.Failure(ctx, "voice transcribe", 0, err)
	}
	defer body.Close()
	response, err := v.Transport.RoundTrip(request)
	if err != nil {
		return "", upstream.Failure(ctx, "voice transcribe", 0, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		failed := upstream.Refused(ctx, "voice transcribe", response)
		if response.StatusCode == http.StatusBadRequest {
			return "", refused(failed)
		}
		return "", failed
	}
	return transcript(ctx, response.Body)
}

func refused(err error) error {
	return &mastra.Error{Code: mastra.CodeInvalid, Message: "The voice's provider does not take this audio or this language", Err: err}
}

// request is the signed beginning of a stream, whose body signs the events as they are read.
func (v *Voice) request(ctx context.Context, language string, s sound) (io.Closer, *http.Request, error) {
	a, err := v.aws()
	if err != nil {
		return nil, nil, err
	}
	credentials, err := a.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, nil, err
	}
	endpoint := "https://transcribestreaming." + a.Region + ".amazonaws.com/stream-transcription"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, nil)
	if err != nil {
		return nil, nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/vnd.amazon.eventstream", "X-Amz-Target": "com.amazonaws.transcribe.Transcribe.StartStreamTranscription",
		"X-Amz-Content-Sha256": unsigned, "X-Amzn-Transcribe-Language-Code": language,
		"X-Amzn-Transcribe-Media-Encoding": s.encoding, "X-Amzn-Transcribe-Sample-Rate": strconv.Itoa(s.rate),
	} {
		r.Header.Set(name, value)
	}
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, unsigned, "transcribe", a.Region, v.now()); err != nil {
		return nil, nil, err
	}
	_, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	seed, err := hex.DecodeString(signature)
	if err != nil {
		return nil, nil, err
	}
	events := &events{ctx: ctx, audio: s.data, now: v.now, signer: v4.NewStreamSigner(credentials, "transcribe", a.Region, seed)}
	r.Body, r.ContentLength = io.NopCloser(events), -1
	return r.Body, r, nil
}

// events is the audio as signed events: each signature covers the one before. The last event is empty.
type events struct {
	ctx    context.Context
	audio  []byte
	now    func() time.Time
	signer *v4.StreamSigner
	out    bytes.Buffer
	ended  bool
}

const eventBytes = 8 << 10 // of audio in one event

func (e *events) Read(p []byte) (int, error) {
	if e.out.Len() == 0 {
		if e.ended {
			return 0, io.EOF
		}
		e.out.Reset()
		if err := e.next(); err != nil {
			return 0, err
		}
	}
	return e.out.Read(p)
}

func (e *events) next() error {
	var inner bytes.Buffer
	encoder := eventstream.NewEncoder()
	if n := min(len(e.audio), eventBytes); n > 0 {
		m := eventstream.Message{Payload: e.audio[:n]}
		e.audio = e.audio[n:]
		m.Headers.Set(":content-type", eventstream.StringValue("application/octet-stream"))
		m.Headers.Set(":event-type", eventstream.StringValue("AudioEvent"))
		m.Headers.Set(":message-type", eventstream.StringValue("event"))
		if err := encoder.Encode(&inner, m); err != nil {
			return err
		}
	} else {
		e.ended = true
	}
	at := e.now().UTC()
	signed := eventstream.Message{Payload: inner.Bytes()}
	signed.Headers.Set(":date", eventstream.TimestampValue(at))
	var headers bytes.Buffer
	if err := eventstream.EncodeHeaders(&headers, signed.Headers); err != nil {
		return err
	}
	signature, err := e.signer.GetSignature(e.ctx, headers.Bytes(), signed.Payload, at)
	if err != nil {
		return err
	}
	signed.Headers.Set(":chunk-signature", eventstream.BytesValue(signature))
	return encoder.Encode(&e.out, signed)
}

// heard is an event of the answer.
type heard struct {
	Transcript struct {
		Results []struct {
			IsPartial    bool
			Alternatives []struct{ Transcript string }
		}
	}
	Message string // of an exception
}

const maxEvent = 1 << 20

// transcript reads the answer: the results that are final, in their order.
func transcript(ctx context.Context, body io.Reader) (string, error) {
	var said []string
	decoder := eventstream.NewDecoder()
	in := bufio.NewReader(io.LimitReader(body, upstream.MaxAnswer))
	for {
		if _, err := in.Peek(1); errors.Is(err, io.EOF) { // the decoder tells no end from a cut
			return strings.Join(said, " "), nil
		}
		m, err := decoder.Decode(in, nil)
		if err != nil {
			return "", upstream.Failure(ctx, "voice transcribe", 0, upstream.Broken(err))
		}
		if len(m.Payload) > maxEvent {
			return "", upstream.Failure(ctx, "voice transcribe", 0, upstream.ErrTooLong)
		}
		var event heard
		if err := schema.Unmarshal(m.Payload, &event); err != nil {
			return "", upstream.Failure(ctx, "voice transcribe", 0, fmt.Errorf("%w: %w", upstream.ErrMalformed, err))
		}
		if kind := m.Headers.Get(":exception-type"); kind != nil {
			return "", exception(ctx, kind.String(), event.Message)
		}
		for _, r := range event.Transcript.Results {
			if !r.IsPartial && len(r.Alternatives) > 0 && r.Alternatives[0].Transcript != "" {
				said = append(said, r.Alternatives[0].Transcript)
			}
		}
	}
}

func exception(ctx context.Context, kind, message string) error {
	status := http.StatusInternalServerError
	err := fmt.Errorf("%s: %q", kind, message)
	switch kind {
	case "BadRequestException":
		return refused(upstream.Failure(ctx, "voice transcribe", http.StatusBadRequest, err))
	case "LimitExceededException":
		status = http.StatusTooManyRequests
	case "ServiceUnavailableException":
		status = http.StatusServiceUnavailable
	}
	return upstream.Failure(ctx, "voice transcribe", status, err)
}
