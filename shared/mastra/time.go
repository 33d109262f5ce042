package mastra

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

// Time is a moment in Unix milliseconds, the resolution of JavaScript's Date. It encodes as a Date does
// ("2026-01-02T03:04:05.006Z"), zero as null, and decodes from that, from any RFC 3339 text and from a number.
type Time int64

const isoMillis = "2006-01-02T15:04:05.000Z"

// TimeOf cuts t to milliseconds.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }
func (t Time) String() string  { return string(t.append(make([]byte, 0, len(isoMillis)))) }

// append is AppendFormat with isoMillis, which an answer does dozens of times, in a fifth of the time.
func (t Time) append(b []byte) []byte {
	at := t.Time()
	year, month, day := at.Date()
	if year < 0 || year > 9999 {
		return at.AppendFormat(b, isoMillis)
	}
	hour, minute, second := at.Clock()
	two := func(n int) { b = append(b, byte('0'+n/10), byte('0'+n%10)) }
	two(year / 100)
	two(year % 100)
	b = append(b, '-')
	two(int(month))
	b = append(b, '-')
	two(day)
	b = append(b, 'T')
	two(hour)
	b = append(b, ':')
	two(minute)
	b = append(b, ':')
	two(second)
	millis := at.Nanosecond() / 1e6
	b = append(b, '.', byte('0'+millis/100))
	two(millis % 100)
	return append(b, 'Z')
}

// AppendJSON appends the time as it encodes.
func (t Time) AppendJSON(b []byte) []byte {
	if t == 0 {
		return append(b, "null"...)
	}
	return append(t.append(append(b, '"')), '"')
}

func (t Time) MarshalJSONTo(e *jsontext.Encoder) error {
	return e.WriteValue(t.AppendJSON(make([]byte, 0, len(isoMillis)+2)))
}

func (t *Time) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	tok, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case 'n':
		*t = 0
		return nil
	case '0':
		n, err := tok.Float()
		*t = Time(n)
		return err
	case '"':
		p, err := ParseTime(tok.String())
		*t = p
		return err
	}
	return Errorf(CodeInvalid, "not a date")
}

// ParseTime reads what JavaScript's Date reads of ISO 8601: a date alone or with a time.
func ParseTime(s string) (Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", time.DateOnly} {
		if p, err := time.Parse(layout, s); err == nil {
			return TimeOf(p), nil
		}
	}
	return 0, Errorf(CodeInvalid, "Invalid input: expected date, received %q", s)
}

func (Time) JSONSchema() *schema.Doc {
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string", Pattern: schema.DatePattern}, {Type: "integer"}, {Type: "null"}}}
}
