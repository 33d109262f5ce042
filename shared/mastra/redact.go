package mastra

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// secretNames are the names of members whose values are not recorded, without case and separators.
var secretNames = map[string]bool{"password": true, "passwd": true, "token": true, "secret": true, "key": true, "apikey": true, "auth": true, "authorization": true,
	"bearer": true, "bearertoken": true, "jwt": true, "credential": true, "credentials": true, "clientsecret": true, "privatekey": true, "refresh": true,
	"accesstoken": true, "refreshtoken": true, "idtoken": true, "sessiontoken": true, "secretkey": true, "secretaccesskey": true, "accesskeyid": true, "cookie": true,
	"setcookie": true, "ssn": true, "xapikey": true}

const longestSecretName = 24

// secretLengths has, by a name's first letter, a bit for each length that one of a secret has: hardly another name passes.
var secretLengths = func() (bits [256]uint32) {
	for name := range secretNames {
		bits[name[0]] |= 1 << len(name)
	}
	return bits
}()

// secretEnds has the two letters, each without its case, that a secret's name may end in.
var secretEnds = func() (ends [32][32]bool) {
	for name := range secretNames {
		ends[name[len(name)-2]&31][name[len(name)-1]&31] = true
	}
	return ends
}()

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// secretName says whether a member's name, as it is encoded, is one of a secret.
func secretName(name []byte) bool {
	var plain [longestSecretName]byte
	n := 0
	for _, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '_' || c == '-' || c == '.' || c == ' ':
			continue
		default:
			return false
		}
		if n == len(plain) {
			return false
		}
		plain[n] = c
		n++
	}
	return secretLengths[plain[0]]>>n&1 == 1 && secretNames[string(plain[:n])]
}

// suspicious says whether JSON may hold a secret, also within a text that is JSON itself. It reads the names alone, so that
// the usual value costs next to nothing.
func suspicious(data []byte) bool {
	for at := 0; ; {
		i := bytes.IndexByte(data[at:], ':')
		if i < 0 {
			return false
		}
		end := at + i - 1
		at += i + 1
		for end >= 0 && (data[end] == ' ' || data[end] == '\n' || data[end] == '\t' || data[end] == '\r') {
			end--
		}
		if end < 1 || data[end] != '"' {
			continue
		}
		for end--; end >= 0 && data[end] == '\\'; end-- { // within a text
		}
		if end > 0 && !secretEnds[data[end-1]&31][data[end]&31] && isLetter(data[end-1]) && isLetter(data[end]) {
			continue
		}
		begin := end
		for begin >= 0 && end-begin <= 2*longestSecretName && data[begin] != '"' {
			begin--
		}
		if begin >= 0 && data[begin] == '"' && secretName(data[begin+1:end+1]) {
			return true
		}
	}
}

const redacted = `"[REDACTED]"`

// maxNested is how deep texts that are JSON are looked into.
const maxNested = 8

// Redact is data without the values of members that are named like secrets: "password", "apiKey", "authorization"… Data
// without such members comes back as it is.
func Redact(data JSON) JSON {
	if len(data) == 0 || !suspicious(data) {
		return data
	}
	return redact(data, maxNested)
}

func redact(data JSON, nested int) JSON {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	var b bytes.Buffer
	b.Grow(len(data))
	e := jsontext.NewEncoder(&b, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	for {
		kind := d.PeekKind()
		if kind == 0 {
			break
		}
		// The value of a member: its name was the last token written.
		if outer, n := e.StackIndex(e.StackDepth()); outer == '{' && n%2 == 1 && kind != '}' {
			name := e.StackPointer().LastToken()
			if secretName([]byte(name)) && kind != 'n' && kind != '{' && kind != '[' { // of an object its own members are looked at
				if d.SkipValue() != nil || e.WriteValue(JSON(redacted)) != nil {
					return JSON(redacted)
				}
				continue
			}
		}
		t, err := d.ReadToken()
		if err != nil {
			return JSON(redacted) // what cannot be read cannot be cleared
		}
		if outer, n := e.StackIndex(e.StackDepth()); kind == '"' && nested > 0 && (outer != '{' || n%2 == 1) {
			if text := t.String(); len(text) > 2 && (text[0] == '{' || text[0] == '[') && suspicious([]byte(text)) && JSON(text).IsValid() {
				t = jsontext.String(string(redact(JSON(text), nested-1)))
			}
		}
		if e.WriteToken(t) != nil {
			return JSON(redacted)
		}
	}
	if e.StackDepth() != 0 || b.Len() == 0 { // it was cut off
		return JSON(redacted)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// redactSpans clears spans of secrets. Metadata that spans share is looked at once.
func redactSpans(spans []Span) {
	var shared, clear JSON
	for i := range spans {
		s := &spans[i]
		if len(s.Metadata) == 0 || len(s.Metadata) != len(shared) || &s.Metadata[0] != &shared[0] {
			shared, clear = s.Metadata, Redact(s.Metadata)
		}
		s.Metadata = clear
		for _, v := range [...]*JSON{&s.Input, &s.Output, &s.Attributes, &s.Error, &s.Context} {
			*v = Redact(*v)
		}
	}
}
