package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// maxBatch bounds how many observations share a commit, so that the first of them does not wait for ever.
const maxBatch = 512

// Status and outcome of an observation whose EK is not the accepted one, or was taken out.
const (
	statusChangedEK = "changed-ek"
	outcomeFailed   = "failed"

	statusRemovedEK = "removed-ek"
	outcomeSkipped  = "skipped"
)

type putRequest struct {
	all  []Observation
	done chan putResult // buffered
}

type putResult struct {
	verdicts []Verdict
	err      error
}

func (s *sqlite) Put(ctx context.Context, o Observation) (Verdict, error) {
	verdicts, err := s.PutAll(ctx, []Observation{o})
	if err != nil {
		return Verdict{}, err
	}
	return verdicts[0], nil
}

func (s *sqlite) PutAll(ctx context.Context, all []Observation) ([]Verdict, error) {
	for _, o := range all {
		if err := checkObservation(o); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	req := putRequest{all: all, done: make(chan putResult, 1)}
	select {
	case s.puts <- req:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closing:
		return nil, ErrClosed
	}
	// From here on it is written whatever becomes of ctx, so the caller is told what happened.
	r := <-req.done
	return r.verdicts, r.err
}

func checkObservation(o Observation) error {
	switch {
	case o.Host == "":
		return errors.New("observation without a host")
	case o.Outcome == "":
		return errors.New("observation without an outcome")
	case o.Identity != nil && !ValidEKHash(o.Identity.EKHash):
		return errors.New("identity without a valid EKPub hash: it must have 64 lower-case hex digits")
	case len(o.TPM) > 0 && !json.Valid(o.TPM):
		return errors.New("observation whose TPM details are no JSON")
	}
	return nil
}

// ValidEKHash reports whether s is 64 lower-case hex digits.
func ValidEKHash(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// writeLoop commits observations. While one batch is being synced to disk, the next one gathers.
func (s *sqlite) writeLoop() {
	for {
		select {
		case <-s.closing:
			return
		case first := <-s.puts:
			s.commit(s.gather(first))
		}
	}
}

func (s *sqlite) gather(first putRequest) []putRequest {
	batch, n := []putRequest{first}, len(first.all)
	for n < maxBatch {
		select {
		case next := <-s.puts:
			batch, n = append(batch, next), n+len(next.all)
		default:
			return batch
		}
	}
	return batch
}

func (s *sqlite) commit(batch []putRequest) {
	verdicts := make([][]Verdict, len(batch))
	ctx := context.Background()
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		p := putTx{ctx: ctx, tx: tx, st: &s.put}
		for i, req := range batch {
			verdicts[i] = make([]Verdict, len(req.all))
			for j, o := range req.all {
				v, err := p.put(o)
				if err != nil {
					return err
				}
				verdicts[i][j] = v
			}
		}
		return nil
	})
	for i, req := range batch {
		if err != nil {
			verdicts[i] = nil
		}
		req.done <- putResult{verdicts[i], err}
	}
}

// putStatements are the statements of Put; there are many Puts.
type putStatements struct {
	host, newHost, identity, identityID, newIdentity, detail, newDetail, observe, update, removed, had *sql.Stmt
}

func (p *putStatements) prepare(ctx context.Context, db *sql.DB) error {
	for _, s := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&p.host, "SELECT id, accepted, pending, iif(token = '', '', token_ek) FROM hosts WHERE name = ?"},
		{&p.newHost, "INSERT INTO hosts (name) VALUES (?)"},
		{&p.identity, "SELECT ek_hash, ek_serial, ek_cert IS NOT NULL, proven FROM identities WHERE id = ?"},
		{&p.identityID, "SELECT id FROM identities WHERE digest = ?"},
		{&p.newIdentity, "INSERT INTO identities (digest, ek_hash, ek_serial, ek_pub, ek_cert, proven, via) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?)"},
		{&p.detail, "SELECT id FROM details WHERE digest = ?"},
		{&p.newDetail, "INSERT INTO details (digest, json) VALUES (?, ?)"},
		{&p.observe, "INSERT INTO observations (host, run, at, outcome, status, message, identity, detail) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
		{&p.update, "UPDATE hosts SET known = 1, accepted = ?, pending = ?, last = ? WHERE id = ?"},
		{&p.removed, "SELECT state, host, serial, run, at, by, why FROM machines WHERE ek_hash = ? " +
			"AND (state = 'removed' OR state = 'replaced' AND host <> ?)"},
		{&p.had, "SELECT count(*) FROM observations o JOIN identities i ON i.id = o.identity " +
			"WHERE o.host = ? AND i.ek_hash = ? AND o.run <= ?"},
	} {
		stmt, err := db.PrepareContext(ctx, s.query)
		if err != nil {
			return err
		}
		*s.to = stmt
	}
	return nil
}

// putTx is Put's work inside a transaction.
type putTx struct {
	ctx context.Context
	tx  *sql.Tx
	st  *putStatements
}

// hostState is a host's row; 0 is NULL.
type hostState struct {
	id, accepted, pending int64
	ruleEK                string // the EK that it was assigned a token for; "" for none
}

func (p putTx) put(o Observation) (Verdict, error) {
	h, err := p.hostState(o.Host)
	if err != nil {
		return Verdict{}, err
	}
	identity, verdict, err := p.judge(&h, &o)
	if err != nil {
		return Verdict{}, err
	}
	detail, err := p.detailID(o.TPM)
	if err != nil {
		return Verdict{}, err
	}
	last, err := p.exec(p.st.observe, h.id, o.Run, toUnix(o.At), o.Outcome, o.Status, o.Message,
		nullable(identity), nullable(detail))
	if err != nil {
		return Verdict{}, err
	}
	_, err = p.exec(p.st.update, nullable(h.accepted), nullable(h.pending), last, h.id)
	return verdict, err
}

// judge decides what becomes of the observed identity, and changes h and o by that.
func (p putTx) judge(h *hostState, o *Observation) (identity int64, v Verdict, err error) {
	if o.Identity == nil {
		return 0, v, nil
	}
	if identity, err = p.identityID(o.Identity); err != nil {
		return 0, v, err
	}
	if !counts(*o) {
		return identity, v, nil
	}
	accepted, err := p.known(h.accepted)
	if err != nil {
		return 0, v, err
	}
	pending, err := p.known(h.pending)
	if err != nil {
		return 0, v, err
	}
	if v.Removed, err = p.removed(o.Identity.EKHash, o.Host); err != nil {
		return 0, v, err
	}
	if v.Removed != nil {
		v.Reused, err = p.reused(*h, o, accepted, *v.Removed)
		return identity, v, err
	}
	seen := knownIdentity{o.Identity.EKHash, o.Identity.EKSerial, len(o.Identity.EKCert) > 0, o.Identity.Proven}
	switch {
	case h.accepted == 0:
		h.accepted = identity
	case seen.hash == accepted.hash:
		if seen.better(accepted) {
			h.accepted = identity
		}
		if seen.proven { // the machine that we know is back
			h.pending = 0
		}
	case seen.proven && !accepted.proven && h.ruleEK != accepted.hash:
		h.accepted, h.pending = identity, 0 // nothing rests on what was but claimed
		v.Replaced = accepted.hash
	default:
		if h.pending == 0 || seen.proven || !pending.proven {
			h.pending = identity
		}
		v.Changed, v.Old = true, accepted.hash
		o.Outcome, o.Status = outcomeFailed, statusChangedEK
	}
	return identity, v, nil
}

// removed is the machine of an EK that a person took out, or whose board was replaced on another host; nil for one that is
// in. A board that comes back to its own host is a changed EK like any other.
func (p putTx) removed(hash, host string) (*Machine, error) {
	m, at := Machine{EKHash: hash}, int64(0)
	err := p.row(p.st.removed, hash, host).Scan(&m.State, &m.Host, &m.EKSerial, &m.Run, &at, &m.By, &m.Why)
	if isNoRows(err) {
		return nil, nil //nolint:nilnil // nobody has
	}
	m.At = fromUnix(at)
	return &m, err
}

// reused says whether an EK that was taken out is seen of another host than those that had it then, and notes in the
// observation that it counts for nothing.
func (p putTx) reused(h hostState, o *Observation, accepted knownIdentity, m Machine) (bool, error) {
	before := 0
	if err := p.row(p.st.had, h.id, m.EKHash, m.Run).Scan(&before); err != nil {
		return false, err
	}
	hadIt := o.Host == m.Host || before > 0
	o.Outcome, o.Status = outcomeSkipped, statusRemovedEK
	if hadIt && (h.accepted == 0 || accepted.hash == m.EKHash) {
		return false, nil
	}
	o.Outcome = outcomeFailed
	return true, nil
}

// counts reports whether an observed identity may become the accepted or the pending one: it is proven, or nobody
// tried to prove it. After a proof that failed it is only what the host claims.
func counts(o Observation) bool {
	return o.Identity.Proven || o.Outcome == "ok" || o.Outcome == "changed"
}

// knownIdentity is what judging needs of an identity.
type knownIdentity struct {
	hash, serial string
	cert, proven bool
}

// better reports whether k may replace old, which has the same EK: a proof is never replaced by a claim, and among
// claims the one with the certificate stays.
func (k knownIdentity) better(old knownIdentity) bool {
	if k.proven != old.proven {
		return k.proven
	}
	return k.proven || k.cert || !old.cert
}

func (p putTx) known(id int64) (k knownIdentity, err error) {
	if id == 0 {
		return k, nil
	}
	err = p.row(p.st.identity, id).Scan(&k.hash, &k.serial, &k.cert, &k.proven)
	return k, err
}

func (p putTx) hostState(name string) (h hostState, err error) {
	var accepted, pending sql.NullInt64
	err = p.row(p.st.host, name).Scan(&h.id, &accepted, &pending, &h.ruleEK)
	if isNoRows(err) {
		h.id, err = p.exec(p.st.newHost, name)
	}
	h.accepted, h.pending = accepted.Int64, pending.Int64
	return h, err
}

func (p putTx) identityID(i *Identity) (id int64, err error) {
	digest := identityDigest(i)
	err = p.row(p.st.identityID, digest).Scan(&id)
	if isNoRows(err) {
		id, err = p.exec(p.st.newIdentity, digest, i.EKHash, i.EKSerial, blob(i.EKPub), blob(i.EKCert), i.Proven, i.Via)
	}
	return id, err
}

func (p putTx) detailID(detail json.RawMessage) (id int64, err error) {
	if len(detail) == 0 {
		return 0, nil
	}
	digest := sha256.Sum256(detail)
	err = p.row(p.st.detail, digest[:]).Scan(&id)
	if isNoRows(err) {
		id, err = p.exec(p.st.newDetail, digest[:], string(detail))
	}
	return id, err
}

func (p putTx) row(st *sql.Stmt, args ...any) *sql.Row {
	return p.tx.StmtContext(p.ctx, st).QueryRowContext(p.ctx, args...)
}

// exec returns the id of the row that it inserted.
func (p putTx) exec(st *sql.Stmt, args ...any) (int64, error) {
	res, err := p.tx.StmtContext(p.ctx, st).ExecContext(p.ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// identityDigest covers every field with its length before it, so that no two identities share one.
func identityDigest(i *Identity) []byte {
	h := sha256.New()
	proven := []byte{0}
	if i.Proven {
		proven[0] = 1
	}
	for _, field := range [][]byte{[]byte(i.EKHash), []byte(i.EKSerial), i.EKPub, i.EKCert, proven, []byte(i.Via)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(field)))
		_, _ = fmt.Fprintf(h, "%s%s", n[:], field)
	}
	return h.Sum(nil)
}

func nullable(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}
