package server

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// MaxBody is how many bytes a request's body may have: base64 makes more than 4.5 MiB too much for a Lambda.
const MaxBody = 4 << 20

// input fills a handler's input from a request: where its fields come from, and their schemas.
type input struct {
	typ      reflect.Type
	path     []field
	query    []field
	params   *schema.Schema // of the query as an object, nil without one
	required bool           // one of the query must be there
	hasBody  bool
	body     *schema.Schema
	file     []int // the field that takes an uploaded file
}

type field struct {
	name  string
	index []int
	typ   reflect.Type
}

func newInput(t reflect.Type) *input {
	in := &input{typ: t}
	var params []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		if name := f.Tag.Get("path"); name != "" {
			in.path = append(in.path, field{name, f.Index, f.Type})
		} else if name := f.Tag.Get("query"); name != "" {
			in.query = append(in.query, field{name, f.Index, f.Type})
			optional := ",omitzero"
			if f.Tag.Get("required") == "true" {
				optional, in.required = "", true
			}
			params = append(params, reflect.StructField{Name: fmt.Sprintf("F%d", len(params)), Type: f.Type,
				Tag: reflect.StructTag(fmt.Sprintf(`json:"%s%s" `, name, optional)) + f.Tag})
		} else if f.Tag.Get("upload") != "" {
			in.file = f.Index
		} else if tag := f.Tag.Get("json"); tag != "-" && f.IsExported() {
			in.hasBody = true
		}
	}
	if params != nil {
		in.params = schema.Of(reflect.StructOf(params))
	}
	if in.hasBody {
		in.body = schema.Of(t)
	}
	return in
}

// decode makes a *In of a request. names and values are the path's variables. The path wins over the query, the query over
// the body. body is the raw body.
func (in *input) decode(r *http.Request, names, values []string) (v any, body []byte, err error) {
	at := reflect.New(in.typ)
	switch {
	case in.file != nil:
		err = in.upload(r, at.Elem())
	case in.hasBody && r.Method != http.MethodGet && r.Method != http.MethodHead:
		if body, err = readBody(r); err == nil {
			err = in.body.Decode(body, at.Interface())
		}
	}
	if err != nil {
		return nil, nil, problem("Invalid request body", err)
	}
	if in.params != nil && (r.URL.RawQuery != "" || in.required) {
		if err := in.decodeQuery(r.URL.Query(), at.Elem()); err != nil {
			return nil, nil, problem("Invalid query parameters", err)
		}
	}
	for _, f := range in.path {
		if i := slices.Index(names, f.name); i >= 0 {
			at.Elem().FieldByIndex(f.index).SetString(values[i])
		}
	}
	return at.Interface(), body, nil
}

func problem(message string, err error) error {
	var invalid *schema.InvalidError
	if errors.As(err, &invalid) {
		return &mastra.Error{Code: mastra.CodeInvalid, Message: message, Issues: invalid.Issues}
	}
	return err
}

// readBody reads a JSON body; none at all is an empty object, so that every missing field is named.
func readBody(r *http.Request) ([]byte, error) {
	body, err := limited(r)
	if err != nil || len(body) == 0 {
		return []byte("{}"), err
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, mastra.Errorf(mastra.CodeUnsupported, "Content-Encoding %q is not supported", e)
	}
	if t := r.Header.Get("Content-Type"); t != "" && t != "application/json" {
		t, _, _ = strings.Cut(t, ",") // the official client's speak sends it twice
		media, _, err := mime.ParseMediaType(t)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			return nil, mastra.Errorf(mastra.CodeUnsupported, "Content-Type must be application/json")
		}
	}
	if tooDeep(body) {
		return nil, mastra.Invalid("body", "Nested more than %d levels deep", maxDepth)
	}
	return body, nil
}

// maxDepth is how deep a body may be nested: what reads it calls itself.
const maxDepth = 500

func tooDeep(body []byte) bool {
	depth, text, escaped := 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case text:
			escaped, text = c == '\\', c != '"'
		case c == '"':
			text = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func limited(r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody { // read some of it, so that a client that is still sending sees the answer
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 4*MaxBody))
		return nil, tooLarge()
	}
	var body []byte
	var err error
	if r.ContentLength >= 0 { // known: one allocation
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
		if len(body) > MaxBody {
			return nil, tooLarge()
		}
	}
	if err != nil {
		return nil, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body", Issues: []mastra.Issue{{Field: "body", Message: "The body was cut off"}}, Err: err}
	}
	return body, nil
}

func tooLarge() error { return mastra.Errorf(mastra.CodeTooLarge, "Request body too large") }

func (in *input) decodeQuery(query url.Values, at reflect.Value) error {
	doc := map[string]any{}
	for _, f := range in.query {
		if all, ok := query[f.name]; ok {
			doc[f.name] = parameter(f.typ, all)
		} else if nested := brackets(query, f.name); nested != nil {
			doc[f.name] = nested
		}
	}
	issues, err := in.params.Validate(doc)
	if err != nil {
		return err
	}
	if len(issues) > 0 {
		for i := range issues { // a text that is no number
			issues[i].Message = strings.Replace(issues[i].Message, "expected number, received string", "expected number, received NaN", 1)
		}
		return &schema.InvalidError{Issues: issues}
	}
	data, err := schema.Marshal(doc)
	if err != nil {
		return err
	}
	v := reflect.New(in.params.Type())
	if err := schema.Unmarshal(data, v.Interface()); err != nil {
		return err
	}
	for i, f := range in.query {
		if _, ok := doc[f.name]; ok {
			at.FieldByIndex(f.index).Set(v.Elem().Field(i))
		}
	}
	return nil
}

// brackets reads name[key]=text as the object that name would hold.
func brackets(query url.Values, name string) map[string]any {
	var object map[string]any
	for key, texts := range query {
		if inner, ok := strings.CutPrefix(key, name+"["); ok && strings.HasSuffix(inner, "]") {
			if object == nil {
				object = map[string]any{}
			}
			object[inner[:len(inner)-1]] = texts[0]
		}
	}
	return object
}

// parameter turns the texts of one query parameter into the JSON value that its field wants.
func parameter(t reflect.Type, texts []string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && t != reflect.TypeFor[mastra.JSON]() {
		var whole []any // the official client sends a list as JSON
		if len(texts) == 1 && strings.HasPrefix(texts[0], "[") && schema.Unmarshal([]byte(texts[0]), &whole) == nil {
			return whole
		}
		list := make([]any, len(texts))
		for i, text := range texts {
			list[i] = parameter(t.Elem(), []string{text})
		}
		return list
	}
	if len(texts) > 1 {
		list := make([]any, len(texts))
		for i, text := range texts {
			list[i] = text
		}
		return list
	}
	text := texts[0]
	if t.Implements(reflect.TypeFor[schema.Describer]()) && t.Kind() != reflect.Slice {
		return text // a date
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Float64:
		if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n
		}
	case reflect.Bool:
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Interface:
		var v any
		if schema.Unmarshal([]byte(text), &v) == nil {
			return v
		}
	}
	return text
}

// upload reads a multipart form: the file into the upload field, the form's other fields by their json names as text.
func (in *input) upload(r *http.Request, at reflect.Value) error {
	body, err := limited(r)
	if err != nil {
		return err
	}
	name := in.typ.FieldByIndex(in.file).Tag.Get("upload")
	media, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "multipart/form-data" {
		return in.uploadJSON(body, name, at)
	}
	form, err := readForm(body, params["boundary"])
	if err != nil {
		return &schema.InvalidError{Issues: []mastra.Issue{{Field: "body", Message: "Invalid multipart form"}}}
	}
	file, ok := form[name]
	if !ok {
		return missingFile(name)
	}
	at.FieldByIndex(in.file).SetBytes(file)
	for i := range in.typ.NumField() {
		tag, _, _ := strings.Cut(in.typ.Field(i).Tag.Get("json"), ",")
		if data, ok := form[tag]; ok && tag != "-" && tag != "" {
			if err := schema.Unmarshal(data, at.Field(i).Addr().Interface()); err != nil {
				return &schema.InvalidError{Issues: []mastra.Issue{{Field: tag, Message: "Invalid input"}}}
			}
		}
	}
	return nil
}

func (in *input) uploadJSON(body []byte, name string, at reflect.Value) error {
	var fields map[string]mastra.JSON
	if len(body) > 0 {
		if err := schema.Unmarshal(body, &fields); err != nil {
			return err
		}
	}
	if fields[name] == nil {
		return missingFile(name)
	}
	var file []byte // base64
	if err := schema.Unmarshal(fields[name], &file); err != nil {
		return &schema.InvalidError{Issues: []mastra.Issue{{Field: name, Message: "Invalid input: expected base64"}}}
	}
	at.FieldByIndex(in.file).SetBytes(file)
	return schema.Unmarshal(body, at.Addr().Interface())
}

func missingFile(name string) error {
	return &schema.InvalidError{Issues: []mastra.Issue{{Field: name, Message: "Required"}}}
}
