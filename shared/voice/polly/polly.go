// Package polly speaks with Amazon Polly.
package polly

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/polly"
	"github.com/aws/aws-sdk-go-v2/service/polly/types"
	"github.com/aws/smithy-go"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
	"mastralambda/shared/upstream"
)

// Config says who speaks. Credentials and region are those that the AWS SDK finds.
type Config struct {
	Speaker   string            // a voice of Polly; "Joanna" where empty
	Engine    string            // standard, neural, long-form or generative; "neural" where empty
	Format    string            // mp3, ogg_vorbis or pcm; mp3 where empty
	Transport http.RoundTripper // the SDK's own where nil
}

// Voice is a mastra.Voice that speaks.
type Voice struct {
	Config
	connect func() (*api.Client, error)
}

var _ mastra.Voice = (*Voice)(nil)

// New makes a voice. Nothing is read or sent before its first call.
func New(c Config) *Voice {
	c.Speaker, c.Engine, c.Format = cmp.Or(c.Speaker, "Joanna"), cmp.Or(c.Engine, "neural"), cmp.Or(c.Format, "mp3")
	return &Voice{c, sync.OnceValues(func() (*api.Client, error) {
		a, err := awsconfig.Load(context.Background())
		if err != nil {
			return nil, err
		}
		if a.Region == "" {
			return nil, errors.New("no AWS region is configured: AWS_REGION")
		}
		return api.NewFromConfig(a, func(o *api.Options) {
			if c.Transport != nil {
				o.HTTPClient = &http.Client{Transport: c.Transport}
			}
		}), nil
	})}
}

// Speakers lists the voices that the engine has.
func (v *Voice) Speakers(ctx context.Context) ([]mastra.Speaker, error) {
	client, err := v.connect()
	if err != nil {
		return nil, failure(ctx, err)
	}
	var out []mastra.Speaker
	in := &api.DescribeVoicesInput{Engine: types.Engine(v.Engine)}
	for range 20 { // there are some hundred voices
		answer, err := client.DescribeVoices(ctx, in)
		if err != nil {
			return nil, failure(ctx, err)
		}
		for _, s := range answer.Voices {
			out = append(out, mastra.Speaker{VoiceID: string(s.Id), Language: string(s.LanguageCode)})
		}
		if in.NextToken = answer.NextToken; in.NextToken == nil {
			break
		}
	}
	return out, nil
}

const atOnce = 2900 // characters of one request: Polly takes 3000

var mediaTypes = map[string]string{"mp3": "audio/mpeg", "ogg_vorbis": "audio/ogg", "pcm": "audio/pcm"}

// Speak turns text into audio. A text that is too long for one request is spoken in pieces, each when it is read.
func (v *Voice) Speak(ctx context.Context, text, speaker string) (*mastra.Audio, error) {
	pieces := cut(text)
	if len(pieces) == 0 {
		return nil, mastra.Invalid("text", "It is blank")
	}
	first, err := v.speak(ctx, pieces[0], speaker)
	if err != nil {
		return nil, err
	}
	return &mastra.Audio{MediaType: cmp.Or(mediaTypes[v.Format], "application/octet-stream"),
		Body: &speech{ReadCloser: first, rest: pieces[1:], next: func(text string) (io.ReadCloser, error) { return v.speak(ctx, text, speaker) }}}, nil
}

func (v *Voice) speak(ctx context.Context, text, speaker string) (io.ReadCloser, error) {
	client, err := v.connect()
	if err != nil {
		return nil, failure(ctx, err)
	}
	answer, err := client.SynthesizeSpeech(ctx, &api.SynthesizeSpeechInput{Text: aws.String(text), TextType: types.TextTypeText,
		VoiceId: types.VoiceId(cmp.Or(speaker, v.Speaker)), Engine: types.Engine(v.Engine), OutputFormat: types.OutputFormat(v.Format)})
	if err != nil {
		return nil, failure(ctx, err)
	}
	return answer.AudioStream, nil
}

// speech is one piece after the other.
type speech struct {
	io.ReadCloser
	rest []string
	next func(string) (io.ReadCloser, error)
}

func (s *speech) Read(p []byte) (int, error) {
	for {
		n, err := s.ReadCloser.Read(p)
		if !errors.Is(err, io.EOF) || len(s.rest) == 0 {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		_ = s.Close()
		following, err := s.next(s.rest[0])
		if err != nil {
			s.ReadCloser = io.NopCloser(strings.NewReader(""))
			s.rest = nil
			return 0, err
		}
		s.ReadCloser, s.rest = following, s.rest[1:]
	}
}

// cut cuts a text into pieces that Polly takes: at the end of a sentence, else at a blank.
func cut(text string) (out []string) {
	text = strings.TrimSpace(strings.ToValidUTF8(text, ""))
	for utf8.RuneCountInString(text) > atOnce {
		end, n := 0, 0
		for end = range text {
			if n++; n > atOnce {
				break
			}
		}
		at := end
		if i := strings.LastIndexAny(text[:end], ".!?\n"); i > end/2 {
			at = i + 1
		} else if i := strings.LastIndexByte(text[:end], ' '); i > 0 {
			at = i
		}
		out = append(out, strings.TrimSpace(text[:at]))
		text = strings.TrimSpace(text[at:])
	}
	if text != "" {
		out = append(out, text)
	}
	return out
}

// Listener says that it does not listen.
func (v *Voice) Listener() bool { return false }

// Listen is refused.
func (v *Voice) Listen(context.Context, io.Reader, mastra.JSON) (string, error) {
	return "", mastra.Errorf(mastra.CodeInvalid, "This agent speaks, but it does not listen")
}

// failure is what the caller may know of err. A refusal of what was sent is the caller's.
func failure(ctx context.Context, err error) error {
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		return upstream.Failure(ctx, "voice polly", 0, err)
	}
	status := http.StatusInternalServerError
	switch refused.ErrorCode() {
	case "ThrottlingException", "ServiceQuotaExceededException", "TooManyRequestsException":
		status = http.StatusTooManyRequests
	case "ServiceFailureException":
	case "AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException":
		status = http.StatusForbidden
	case "ValidationException", "EngineNotSupportedException", "LanguageNotSupportedException", "TextLengthExceededException", "InvalidSsmlException", "InvalidSampleRateException":
		return &mastra.Error{Code: mastra.CodeInvalid, Message: "The voice's provider does not take this text or this speaker", Err: err}
	}
	return upstream.Failure(ctx, "voice polly", status, err)
}
