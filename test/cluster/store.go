package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	machineidv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/machineid/v1"
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protojson"
)

// Errors of a Store.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
)

// Store is the cluster's backend: a directory with a JSON file a resource. tctl and the auth service share it; a lock
// file makes each change one step.
type Store struct{ dir string }

// OpenStore makes the directory if need be.
func OpenStore(dir string) (*Store, error) {
	for _, sub := range []string{"token", "bot", "bot_instance", "lock", "secret"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	return &Store{dir: dir}, nil
}

// PutToken creates or replaces a token, as `tctl create` does with or without -f in every version.
func (s *Store) PutToken(token *types.ProvisionTokenV2) error {
	server, err := s.Server()
	if err != nil {
		return err
	}
	if server.OSS && token.Spec.TPM != nil {
		return errLicence()
	}
	return s.locked(func() error {
		old, err := s.token(token.GetName())
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := server.checkNewRules(token, old); err != nil {
			return err
		}
		data, err := json.Marshal(token)
		if err != nil {
			return err
		}
		return s.write("token", token.GetName(), data)
	})
}

// Token returns a token, or ErrNotFound when there is none or it has expired.
func (s *Store) Token(name string) (*types.ProvisionTokenV2, error) {
	token, err := s.token(name)
	if err == nil && expired(token, time.Now()) {
		return nil, noToken(name)
	}
	return token, err
}

func (s *Store) token(name string) (*types.ProvisionTokenV2, error) {
	data, err := s.read("token", name)
	if errors.Is(err, ErrNotFound) {
		return nil, noToken(name)
	}
	if err != nil {
		return nil, err
	}
	var token types.ProvisionTokenV2
	return &token, json.Unmarshal(data, &token)
}

// Tokens returns all tokens, by name.
func (s *Store) Tokens() ([]*types.ProvisionTokenV2, error) { return all(s, "token", s.Token) }

// PutBot creates a bot; with overwrite it replaces one, its roles and traits too.
func (s *Store) PutBot(bot *machineidv1.Bot, overwrite bool) error {
	return s.locked(func() error {
		_, err := s.Bot(bot.Metadata.Name)
		if err == nil && !overwrite {
			return fmt.Errorf("bot %q %w", bot.Metadata.Name, ErrExists)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		data, err := protojson.Marshal(bot)
		if err != nil {
			return err
		}
		return s.write("bot", bot.Metadata.Name, data)
	})
}

// Bot returns a bot or ErrNotFound.
func (s *Store) Bot(name string) (*machineidv1.Bot, error) {
	data, err := s.read("bot", name)
	if errors.Is(err, ErrNotFound) {
		return nil, noBot(name)
	}
	if err != nil {
		return nil, err
	}
	var bot machineidv1.Bot
	return &bot, protojson.Unmarshal(data, &bot)
}

// Bots returns all bots, by name.
func (s *Store) Bots() ([]*machineidv1.Bot, error) { return all(s, "bot", s.Bot) }

// Lock refuses joins as a user ("bot-fleet") until the end of a time, as `tctl lock --user` does.
func (s *Store) Lock(user, message string, until time.Time) error {
	data, err := json.Marshal(lock{Message: message, Until: until})
	if err != nil {
		return err
	}
	return s.locked(func() error { return s.write("lock", user, data) })
}

type lock struct {
	Message string    `json:"message"`
	Until   time.Time `json:"until"` // zero: for ever
}

// lockInForce returns the message of a lock, and whether there is one.
func (s *Store) lockInForce(user string, now time.Time) (string, bool) {
	data, err := s.read("lock", user)
	if err != nil {
		return "", false
	}
	var l lock
	if err := json.Unmarshal(data, &l); err != nil {
		return "", false
	}
	return l.Message, l.Until.IsZero() || now.Before(l.Until)
}

// Delete removes a resource ("token", "bot") or returns ErrNotFound. A bot's instances go with it.
func (s *Store) Delete(kind, name string) error {
	return s.locked(func() error {
		if kind == KindBot {
			if err := s.deleteInstances(name); err != nil {
				return err
			}
		}
		err := os.Remove(s.path(kind, name))
		if errors.Is(err, fs.ErrNotExist) {
			return map[string]func(string) error{KindToken: noToken, KindBot: noBot}[kind](name)
		}
		return err
	})
}

func (s *Store) path(kind, name string) string { return filepath.Join(s.dir, kind, name+".json") }

func (s *Store) read(kind, name string) ([]byte, error) {
	if !keyName.MatchString(name) {
		return nil, ErrNotFound
	}
	data, err := os.ReadFile(s.path(kind, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	return data, err
}

// write replaces a file as a whole; readers see the old or the new one.
func (s *Store) write(kind, name string, data []byte) error {
	tmp := s.path(kind, name) + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.path(kind, name))
}

// locked runs fn while no other process changes the store.
func (s *Store) locked(fn func() error) error {
	f, err := os.OpenFile(filepath.Join(s.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return fn()
}

// names lists what there is of a kind, sorted.
func (s *Store) names(kind string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, kind))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, nil
}

// all gets every resource of a kind; one that went in the meantime is left out.
func all[T any](s *Store, kind string, get func(string) (T, error)) ([]T, error) {
	names, err := s.names(kind)
	if err != nil {
		return nil, err
	}
	var list []T
	for _, name := range names {
		item, err := get(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}
