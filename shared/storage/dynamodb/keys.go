package dynamodb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
	"unicode/utf8"

	"mastralambda/shared/mastra"
)

// Every partition key begins with the tenant and '#', every part of a key that another one follows is free of '#'.

// shards is how many partitions a list that all of a tenant's items are in is spread over: one takes 1000 writes a second.
const shards = 4

// Fixed sort keys. '~' sorts behind all others.
const (
	only         = "~"     // of an item that has its partition to itself
	activityKey  = "~act"  // a thread: what it is and what goes on in it
	metaKey      = "~meta" // what a thread is, where a former version made it
	headKey      = "~head"
	leaseKey     = "~lease"
	summaryKey   = "~sum"
	messages     = "M#"
	traceLinks   = "D#" // of a thread: the traces to delete with it that no message of it names
	threadLeft   = "L#" // of a resource: the threads that it gave away
	packedSpans  = "P#"
	pieces       = "B#" // of values too large for their item
	systemTenant = "~"  // an escaped tenant never contains it
)

// maxID is how many bytes an id may have: what fits into a key beside its tenant.
const maxID = 1024

func checkID(kind, id string) error {
	switch {
	case id == "":
		return mastra.Errorf(mastra.CodeInvalid, "The %s has no id", kind)
	case len(id) > maxID:
		return mastra.Errorf(mastra.CodeInvalid, "The id of the %s is longer than %d bytes", kind, maxID)
	case !utf8.ValidString(id):
		return mastra.Errorf(mastra.CodeInvalid, "The id of the %s is not valid UTF-8", kind)
	}
	return nil
}

// maxTenant is how many bytes a tenant may have.
const maxTenant = 200

// keepable says whether something of this id can be stored at all.
func keepable(id string) bool { return checkID("", id) == nil }

var escaped = strings.NewReplacer("%", "%25", "#", "%23", "~", "%7E")

// part is s as a part of a key, without '#'.
func part(s string) string { return short(escaped.Replace(s), 256) }

// short is s, or its hash where it is too long or no text.
func short(s string, most int) string {
	if len(s) <= most && utf8.ValidString(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "~" + hex.EncodeToString(sum[:])
}

// tenantPart is a tenant as the beginning of a key.
func tenantPart(tenant string) string { return escaped.Replace(tenant) }

func partition(tenant, kind, id string) string {
	return tenantPart(tenant) + "#" + kind + "#" + short(id, maxID)
}

func shardOf(id string) int { return spread(id, shards) }

func spread(id string, over uint32) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % over)
}

func sharded(tenant, name string, shard int) string {
	return fmt.Sprintf("%s#%s#%d", tenantPart(tenant), name, shard)
}

// allShards are the partitions of a sharded list.
func allShards(tenant, name string) []string {
	pks := make([]string, shards)
	for i := range pks {
		pks[i] = sharded(tenant, name, i)
	}
	return pks
}

// moment is t as text that sorts as t does.
func moment(t mastra.Time) string {
	const least = -99_999_999_999_999
	if t < 0 {
		return fmt.Sprintf("-%015d", max(t, least)-least)
	}
	return fmt.Sprintf("%016d", min(int64(t), 9_999_999_999_999_999))
}

// after sorts behind every key that begins with a moment and '#'.
const after = "$"

func messageKey(m *mastra.Message, seq int64) string {
	return messages + moment(m.CreatedAt) + fmt.Sprintf("#%016x#", seq) + short(m.ID, 512)
}

// placed is the key of an item within a list ordered by time.
func placed(t mastra.Time, id string) string { return moment(t) + "#" + short(id, 512) }

var unescaped = strings.NewReplacer("%23", "#", "%7E", "~", "%25", "%")

func unescape(part string) string { return unescaped.Replace(part) }
