package transcribe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"mastralambda/shared/mastra"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// framed is an event of the service.
func framed(t testing.TB, kind, name, payload string) []byte {
	t.Helper()
	m := eventstream.Message{Payload: []byte(payload)}
	m.Headers.Set(":"+kind+"-type", eventstream.StringValue(name))
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	m.Headers.Set(":message-type", eventstream.StringValue(kind))
	var out bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The answer of the service's documentation: partial results that become final ones.
func documented(t testing.TB) []byte {
	event := func(text string, partial bool) []byte {
		return framed(t, "event", "TranscriptEvent", fmt.Sprintf(`{"Transcript":{"Results":[{"Alternatives":[{"Items":[{"Content":"x","EndTime":1.2,"StartTime":0.8,"Type":"pronunciation"}],"Transcript":%q}],"EndTime":2,"IsPartial":%v,"ResultId":"r","StartTime":0}]}}`, text, partial))
	}
	return bytes.Join([][]byte{event("Hello", true), framed(t, "event", "AnEventOfTomorrow", `{"x":1}`), event("Hello there.", false), event("How", true), event("How are you?", false)}, nil)
}

func wave(channels, bits uint16, rate uint32, samples ...int16) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF\xff\xff\xff\xffWAVELIST\x04\x00\x00\x00abcdfmt ")
	for _, v := range []any{uint32(16), uint16(1), channels, rate, rate * uint32(channels) * 2, channels * 2, bits} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("data\xff\xff\xff\xff") // a recorder that streamed does not know its size
	_ = binary.Write(&b, binary.LittleEndian, samples)
	return b.Bytes()
}

func TestListen(t *testing.T) {
	t.Setenv("AWS_REGION", "us-west-2")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "session")
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	samples := make([]int16, 12_000)
	for i := range samples {
		samples[i] = int16(i)
	}
	v := New(Config{now: func() time.Time { return at }, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != "https://transcribestreaming.us-west-2.amazonaws.com/stream-transcription" || r.Header.Get("X-Amzn-Transcribe-Language-Code") != "de-DE" ||
			r.Header.Get("X-Amzn-Transcribe-Media-Encoding") != "pcm" || r.Header.Get("X-Amzn-Transcribe-Sample-Rate") != "16000" || r.Header.Get("X-Amz-Security-Token") != "session" ||
			!strings.Contains(r.Header.Get("Authorization"), "/us-west-2/transcribe/aws4_request, SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target;") {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		// The service checks each event's signature against the one before.
		_, seed, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		first, err := hex.DecodeString(seed)
		if err != nil {
			t.Error(err)
		}
		signer := v4.NewStreamSigner(aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}, "transcribe", "us-west-2", first)
		decoder := eventstream.NewDecoder()
		var heard []byte
		for n := 0; ; n++ {
			m, err := decoder.Decode(r.Body, nil)
			if err != nil {
				t.Errorf("event %d: %v", n, err)
				break
			}
			var date eventstream.Headers
			date.Set(":date", m.Headers.Get(":date"))
			var encoded bytes.Buffer
			if err := eventstream.EncodeHeaders(&encoded, date); err != nil {
				t.Error(err)
			}
			want, err := signer.GetSignature(r.Context(), encoded.Bytes(), m.Payload, at)
			if err != nil || !bytes.Equal(m.Headers.Get(":chunk-signature").Get().([]byte), want) {
				t.Errorf("event %d is not signed: %v", n, err)
			}
			if len(m.Payload) == 0 {
				break
			}
			inner, err := eventstream.NewDecoder().Decode(bytes.NewReader(m.Payload), nil)
			if err != nil || inner.Headers.Get(":event-type").String() != "AudioEvent" || len(inner.Payload) > eventBytes {
				t.Errorf("event %d: %v %v", n, inner.Headers, err)
			}
			heard = append(heard, inner.Payload...)
		}
		var want bytes.Buffer
		_ = binary.Write(&want, binary.LittleEndian, samples)
		if !bytes.Equal(heard, want.Bytes()) {
			t.Errorf("%d bytes were heard", len(heard))
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(documented(t)))}, nil
	})})
	text, err := v.Listen(t.Context(), bytes.NewReader(wave(1, 16, 16000, samples...)), mastra.JSON(`{"language":"de-DE"}`))
	if err != nil || text != "Hello there. How are you?" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestFailures(t *testing.T) {
	t.Setenv("AWS_REGION", "us-west-2")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	whole := documented(t)
	for _, c := range []struct {
		name   string
		status int
		body   []byte
		err    error
		want   mastra.Code
	}{
		{"a bad language", 400, []byte(`{"Message":"no"}`), nil, mastra.CodeInvalid},
		{"no access", 403, nil, nil, mastra.CodeUpstream},
		{"too many", 429, nil, nil, mastra.CodeUpstream},
		{"no connection", 0, nil, errors.New("refused"), mastra.CodeUpstream},
		{"a bad file", 200, framed(t, "exception", "BadRequestException", `{"Message":"no"}`), nil, mastra.CodeInvalid},
		{"a limit", 200, framed(t, "exception", "LimitExceededException", `{"Message":"no"}`), nil, mastra.CodeUpstream},
		{"cut off", 200, whole[:len(whole)-7], nil, mastra.CodeUpstream},
		{"another framing", 200, []byte(strings.Repeat("text ", 20)), nil, mastra.CodeUpstream},
	} {
		v := New(Config{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			if c.err != nil {
				return nil, c.err
			}
			return &http.Response{StatusCode: c.status, Body: io.NopCloser(bytes.NewReader(c.body))}, nil
		})})
		if text, err := v.Listen(t.Context(), bytes.NewReader(wave(1, 16, 16000, 1, 2)), nil); mastra.CodeOf(err) != c.want {
			t.Errorf("%s: %q, %v", c.name, text, err)
		}
	}
	if _, err := New(Config{}).Speak(t.Context(), "x", ""); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Error(err)
	}
}

func TestSounds(t *testing.T) {
	flac := append([]byte("fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x00\x00\x00\x00"), 0x0a, 0xc4, 0x42, 0xf0, 0, 0, 0, 0, 0, 0) // 44100
	for _, c := range []struct {
		name string
		data []byte
		rate int
		want string // encoding, samples a second, bytes; "" where it is refused
	}{
		{"mono", wave(1, 16, 8000, 1, 2, 3), 0, "pcm 8000 6"},
		{"stereo becomes mono", wave(2, 16, 16000, 100, 300, -4, -8), 0, "pcm 16000 4"},
		{"8 bits", wave(1, 8, 8000, 1), 0, ""},
		{"too high", wave(1, 16, 96000, 1), 0, ""},
		{"half a header", wave(1, 16, 8000, 1)[:30], 0, ""},
		{"flac", flac, 0, fmt.Sprintf("flac 44100 %d", len(flac))},
		{"opus", []byte("OggS............OpusHead"), 0, "ogg-opus 48000 24"},
		{"vorbis", []byte("OggS............vorbis"), 0, ""},
		{"raw", []byte{1, 2, 3}, 16000, "pcm 16000 2"},
		{"mp3", []byte("ID3 and so on"), 0, ""},
		{"nothing", nil, 0, ""},
	} {
		s, err := recognize(c.data, c.rate)
		got := fmt.Sprintf("%s %d %d", s.encoding, s.rate, len(s.data))
		if c.want == "" && mastra.CodeOf(err) != mastra.CodeInvalid || c.want != "" && (err != nil || got != c.want) {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
	if s, _ := recognize(wave(2, 16, 16000, 100, 300, -4, -8), 0); !bytes.Equal(s.data, []byte{200, 0, 0xfa, 0xff}) {
		t.Errorf("%v", s.data)
	}
}

func FuzzRecognize(f *testing.F) {
	f.Add(wave(2, 16, 16000, 1, 2, 3, 4), 0)
	f.Add([]byte("OggS............OpusHead"), 0)
	f.Fuzz(func(t *testing.T, data []byte, rate int) {
		s, err := recognize(data, rate)
		if err == nil && (s.rate < 8000 || s.rate > 48000 || len(s.data) > len(data)) || err != nil && mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func FuzzTranscript(f *testing.F) {
	f.Add(documented(f))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := transcript(t.Context(), bytes.NewReader(body)); err != nil && mastra.CodeOf(err) != mastra.CodeUpstream && mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Error(err)
		}
	})
}
