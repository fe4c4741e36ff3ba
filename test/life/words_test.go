package life

import (
	"bytes"
	"context"
	"iter"
	"os"
	"slices"

	"fleetctl/enroll"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
)

// What people do besides: their word about tokens, and records that move as text.

// tokensByWord applies the tokens by a person's word about them.
func (a *actor) tokensByWord(ctx context.Context, f enroll.Fleet, st store.Store) error {
	opts := enroll.TokensOptions{Out: a.c.out, Format: "tctl", Apply: true}
	switch a.op.Kind {
	case "contract":
		name := a.names[0]
		rec, err := st.Record(ctx, name)
		if err != nil || !a.w.hasOnly(a.c, name, rec.Token) {
			return nil // people who look first don't say so
		}
		opts.Contract = a.names
	case "adopt":
		opts.Adopt = true
		clear(a.w.theirs) // they become ours, as somebody wants it
	case "prune":
		if a.w.forgot || a.w.outsider || len(a.w.ctls) > 1 {
			return nil // rules that others made are some that a person needs
		}
		opts.Prune = true
	}
	_, err := enroll.Tokens(ctx, f, opts)
	return err
}

// hasOnly says whether the machine of a name is configured with a token, and nobody else presents its EK or has its name.
func (w *world) hasOnly(c *controller, name, token string) bool {
	n := w.find(name)
	if n == nil || c.absent[name] || token == "" || n.m.configured() != token || n.m.running() != token || n.m.scanned != n.m.board.ek {
		return false
	}
	return !slices.ContainsFunc(w.machines, func(m *machine) bool { return m != n.m && m.board.ek == n.m.board.ek })
}

// export keeps the records as text.
func (w *world) export(c *controller) {
	st, err := store.OpenWith(context.Background(), c.db, store.Options{Existing: true})
	if err != nil {
		return
	}
	defer func() { w.must(st.Close()) }()
	c.exported, err = enrolltest.Export(context.Background(), st)
	w.must(err)
}

// moveRecords has a controller that was set up anew, with the records as they were exported and the files that stood beside
// them.
func (w *world) moveRecords(c *controller, o op) {
	w.export(c)
	w.must(os.RemoveAll(c.db))
	w.forget()
	w.inTurn(o, op{Kind: "import", A: o.A}, op{Kind: pick([]string{"apply", "enroll", "install-only", "tokens"}, o.B)})
}

// importRecords takes in what was exported.
func (a *actor) importRecords(ctx context.Context, f enroll.Fleet) error {
	if len(a.c.exported) == 0 {
		return nil
	}
	_, err := enroll.Import(ctx, f, enroll.ImportOptions{TrustProofs: a.op.A%3 > 0}, a.files())
	return err
}

func (a *actor) files() iter.Seq2[enroll.File, error] {
	return func(yield func(enroll.File, error) bool) {
		yield(enroll.File{Name: "export.jsonl", Content: bytes.NewReader(a.c.exported)}, nil)
	}
}
