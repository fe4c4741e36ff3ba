package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// Labels of tokens, by which a run knows whose a token is and whether it is what was written last. Keys and values are in
// the syntax of Kubernetes; Teleport keeps them through create and get.
const (
	labelFleet = "fleetctl.dev/fleet"
	labelEpoch = "fleetctl.dev/epoch"
	labelWrite = "fleetctl.dev/write"
	labelFrom  = "teleport.dev/origin" // Teleport's own: "kubernetes" for what its operator keeps
)

// writeID names a write: 16 hex digits.
func writeID() string {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // it never fails (crypto/rand)
	return hex.EncodeToString(id)
}

// date gives tokens the epoch of their content: the one that it has, or the next one where it is new. What is new in one
// plan has one epoch.
func (p *planner) date() {
	next := p.in.Epoch + 1
	p.set.fleetName, p.set.epoch = p.in.Fleet, p.in.Epoch
	for i := range p.set.Tokens {
		t := &p.set.Tokens[i]
		t.Fleet, t.digest = p.in.Fleet, contentDigest(*t)
		was := p.kinds[t.Name]
		t.Epoch, t.behind = was.Epoch, was.Behind
		if was.Epoch == 0 || was.Digest != t.digest {
			t.Epoch = next
		}
	}
	for _, r := range p.in.Published {
		if r.Seen {
			if p.set.seen[r.Token] == nil {
				p.set.seen[r.Token] = map[string]bool{}
			}
			p.set.seen[r.Token][r.EKHash] = true
		}
	}
}

// contentDigest is what the content of a token is known by, without its labels: SHA-256, 64 hex digits.
func contentDigest(t Token) string {
	doc := documentOf(t)
	doc.Metadata.Labels = nil
	raw, err := json.Marshal(doc)
	if err != nil {
		panic(err) // strings and lists of them: it can't fail
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// fileWrite is the write id of a token's file, from the digest of its content, so that a second run changes no byte.
func fileWrite(digest string) string { return digest[:min(16, len(digest))] }

// labels are those of a token that is written with an id.
func (t Token) labels(write string) map[string]string {
	if t.Epoch == 0 {
		return nil
	}
	return map[string]string{labelFleet: t.Fleet, labelEpoch: strconv.FormatInt(t.Epoch, 10), labelWrite: write}
}

// stampOf reads the labels of a token in the cluster.
func stampOf(labels map[string]string) (s stamp) {
	s.fleet, s.write, s.origin = labels[labelFleet], labels[labelWrite], labels[labelFrom]
	s.epoch, _ = strconv.ParseInt(labels[labelEpoch], 10, 64)
	return s
}

// stamp is who wrote a token last.
type stamp struct {
	fleet  string // "": nobody of us
	epoch  int64
	write  string
	origin string
}
