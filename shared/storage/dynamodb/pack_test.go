package dynamodb

import (
	"bytes"
	"compress/flate"
	"strings"
	"testing"
)

// Values of every form that was ever written are read, and short ones that have much in common cost little.
func TestPack(t *testing.T) {
	root := []byte(`{"traceId":"6b082b9fd04d08d8202cdc6ef1bcc149","spanId":"570182d327b34702","name":"agent run: 'a'","spanType":"agent_run","startedAt":"2026-11-26T12:52:47.731Z","threadId":"new","input":[{"role":"user","content":"How does memory work?"}]}`)
	spans := []byte(`[` + string(root) + `,` + strings.ReplaceAll(string(root), "570182d327b34702", "80f2c9b308726577") + `]`)
	for name, data := range map[string][]byte{"nothing": {}, "short": []byte("x"), "a span": root, "spans": spans, "long": bytes.Repeat(spans, 200), "noise": []byte(strings.Repeat("\x00\xff\x17q", 3))} {
		for form, stored := range map[string][]byte{"pack": pack(data), "short": packShort(data)} {
			if got, err := unpack(stored); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %s: %d bytes come back of %d, %v", name, form, len(got), len(data), err)
			}
		}
		if got, err := unpackBehind(root, packBehind(root, data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s, behind: %d bytes come back of %d, %v", name, len(got), len(data), err)
		}
	}
	if n, least := len(packShort(root)), len(packBehind(root, spans)); n > len(root)/2 || least > 40 {
		t.Errorf("a span takes %d bytes of %d, two behind it %d of %d", n, len(root), least, len(spans))
	}
	var former bytes.Buffer // of the first version
	former.WriteByte(deflate | brief)
	w, _ := flate.NewWriter(&former, flate.BestSpeed)
	_, _ = w.Write(spans)
	_ = w.Close()
	if got, err := unpack(former.Bytes()); err != nil || !bytes.Equal(got, spans) {
		t.Errorf("a former form: %v", err)
	}
	for _, bad := range [][]byte{nil, {16}, {0xff, 1}, {worded, 0xff}} {
		if _, err := unpack(bad); err == nil {
			t.Errorf("%v is read", bad)
		}
	}
}
