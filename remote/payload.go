package remote

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Paced writes: sshd's channel buffer grows faster than the reader behind it drains when a helper is sent as fast as
// the window allows, which doubles sshd's CPU time.
const (
	paceChunk = 64 << 10
	pacePause = time.Millisecond
)

// paced writes data in chunks with a pause after each.
func paced(ctx context.Context, w io.Writer, data []byte) error {
	for chunk := range chunks(data, paceChunk) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		if len(chunk) < paceChunk {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pacePause):
		}
	}
	return nil
}

func chunks(data []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			n := min(size, len(data))
			if !yield(data[:n]) {
				return
			}
			data = data[n:]
		}
	}
}

// StartPayload pushes an executable into a private, unpredictable directory that may execute, checks its SHA-256 on
// the host and runs it. The directory is removed when the process ends, however it ends.
//
// The directory is the first of /tmp, $XDG_RUNTIME_DIR, the home, /var/tmp and /dev/shm that is writable, may execute,
// has room and is safe: nobody but root and the user can put something else in its place. With Keep the file stays in
// ~/.cache/fleetctl under its digest, which is checked before each use.
func (c *Conn) StartPayload(ctx context.Context, p Payload) (*Process, error) {
	if p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || p.Name[0] == '-' {
		return nil, &Error{Kind: ErrConfig, Err: fmt.Errorf("payload name %q", Clean(p.Name))}
	}
	avoid := ""
	for try := 1; ; try++ {
		proc, err := c.startPayload(ctx, p, avoid)
		var full *fullError
		if !errors.As(err, &full) || full.dir == "" || try == maxPlaces {
			return proc, err
		}
		avoid += full.dir + "\n" // a quota shows only when it is hit: go on with the next directory
	}
}

const (
	maxPlaces    = 5    // directories that a payload is tried in: as many as payloadPlaces has
	maxPlaceName = 1024 // bytes of one's name
)

// fullError is a directory that turned out to have no room; "" when every one was tried.
type fullError struct {
	dir  string
	text string
}

func (e *fullError) Error() string { return cmp.Or(Line(e.text), "every directory is full") }

func (c *Conn) startPayload(ctx context.Context, p Payload, avoid string) (*Process, error) {
	random, sent := randomHex(16), false
	setup := strings.NewReplacer(
		"@NAME@", Quote(p.Name), "@SIZE@", fmt.Sprint(len(p.Data)), "@SUM@", hex.EncodeToString(p.SHA256[:]),
		"@RANDOM@", random, "@KEEP@", fmt.Sprint(p.Keep), "@AVOID@", Quote(avoid),
		"@KIB@", fmt.Sprint(len(p.Data)>>10+64),
	).Replace(receiveText + payloadText)
	return c.start(ctx, launch{
		setup: setup, leaves: payloadLeaves(random), body: `"$f" ` + quoteAll(p.Args), become: p.Become, maxOutput: payloadOutput,
		feed: func(proc *Process, word, text string) error {
			if word == wordNeed && !sent {
				sent = true
				err := paced(ctx, proc.Stdin, p.Data)
				if errors.Is(err, io.EOF) {
					return nil // the script ended: its word says why
				}
				return err
			}
			return payloadFailure(word, text)
		},
	})
}

// payloadOutput bounds what a payload may say, on stdout and on stderr.
const payloadOutput = 1 << 20

// payloadFailure sorts the words of a FAIL.
func payloadFailure(word, text string) error {
	if word != wordFail {
		return &Error{Kind: ErrDisconnected, Err: fmt.Errorf("unexpected word %q", Clean(word))}
	}
	why, text, _ := strings.Cut(text, " ")
	said := errors.New(cmp.Or(Line(text), why))
	switch why {
	case "full":
		dir, text, _ := strings.Cut(text, " ")
		dir = Head(dir, maxPlaceName)
		return &Error{
			Kind: ErrNoSpace, Err: &fullError{dir: dir, text: text}, Hint: "make room in /tmp, /var/tmp or the home directory",
		}
	case "nodir":
		if strings.Contains(text, "full") && !strings.Contains(text, "noexec") {
			return &Error{Kind: ErrNoSpace, Err: said, Hint: "make room in /tmp, /var/tmp or the home directory"}
		}
		return &Error{
			Kind: ErrNoExecDir, Err: said, Hint: "one of these must be writable by its owner alone or sticky, and mounted without noexec",
		}
	case "limit":
		return &Error{Kind: ErrNoExecDir, Err: said, Hint: "raise the limit of a file's size for the login user (ulimit -f)"}
	case "sum":
		return &Error{Kind: ErrDisconnected, Err: errors.New("what arrived is not what was sent (SHA-256)")}
	case "notool":
		return &Error{Kind: ErrConfig, Err: said, Hint: "install coreutils, busybox or openssl on the host"}
	}
	return &Error{Kind: ErrConfig, Err: said}
}

// receiveText defines what payloads and files share: receive SIZE FILE reads exactly so many bytes of descriptor 3 and
// leaves the error text in $err; sum FILE prints the SHA-256. Nothing but POSIX tools is counted on.
const receiveText = `
LC_ALL=C; export LC_ALL
receive() {
  if [ "$1" -eq 0 ]; then err=$( { : > "$2"; } 2>&1 ); return; fi
  if printf x | head -c 1 >/dev/null 2>&1; then
    err=$( { head -c "$1" <&3 > "$2"; } 2>&1 )
  else
    err=$( { dd bs=1 count="$1" <&3 > "$2" 2>/dev/null; } 2>&1 )
  fi
}
sum() {
  if command -v sha256sum >/dev/null 2>&1; then s=$(sha256sum < "$1")
  elif command -v shasum >/dev/null 2>&1; then s=$(shasum -a 256 < "$1")
  elif command -v openssl >/dev/null 2>&1; then s=$(openssl dgst -sha256 -r < "$1")
  elif command -v busybox >/dev/null 2>&1; then s=$(busybox sha256sum < "$1")
  else return 1
  fi
  printf '%s' "${s%% *}"
}
size() { s=$(wc -c < "$1" 2>/dev/null) || s=0; echo $((s)); }
full() { case $err in *"o space left"*|*uota*|*"file too large"*|*"File too large"*) return 0;; esac; return 1; }
`

// privateText defines private DIR, which says that DIR is ours alone, whatever access lists its parent hands down; and safe DIR:
// DIR and all above it belong to root or to us, and nobody else may write there, or it is sticky. $real is DIR without symbolic
// links then.
const privateText = `
uid=$(id -u)
private() {
  set -- $(ls -ldn -- "$1" 2>/dev/null)
  case $1 in drwx--[-S]---*) [ "$3" = "$uid" ];; *) return 1;; esac
}
safe() {
  real=$(cd -P -- "$1" 2>/dev/null && pwd -P) || return 1
  at=$real
  while :; do
    set -- $(ls -ldn -- "${at:-/}" 2>/dev/null)
    case $1 in d????????[tT]*|d????-??-?*) ;; *) return 1;; esac
    [ "$3" = 0 ] || [ "$3" = "$uid" ] || return 1
    [ -n "${at#/}" ] || return 0
    at=${at%/*}
  done
}
`

// payloadPlaces are where a payload's directory may lie, as words of a shell.
const payloadPlaces = `/tmp "$XDG_RUNTIME_DIR" "$HOME" /var/tmp /dev/shm`

// payloadLeaves removes a payload's directory, wherever it lies.
func payloadLeaves(random string) string {
	return "for d in " + payloadPlaces + `; do [ -z "$d" ] || rm -rf -- "$d/.fleetctl-` + random + `"; done`
}

// payloadText finds a directory, receives the payload and checks it. Its file is $f; $dir is removed in the end.
//
// What is summed must be what is executed, so that the directory is safe.
const payloadText = privateText + `
why= f= keep=@KEEP@
avoided() { case @AVOID@ in *"$1
"*) return 0;; esac; return 1; }
usable() {
  [ -n "$1" ] && [ -d "$1" ] || { why="$why $1:missing"; return 1; }
  avoided "$1" && { why="$why $1:full"; return 1; }
  safe "$1" || { why="$why $1:unsafe"; return 1; }
  base=$1 dir=${real%/}/.fleetctl-@RANDOM@
  err=$( (umask 077 && mkdir -m 700 -- "$dir") 2>&1 ) || {
    dir=
    if full; then why="$why $1:full"; else case $err in
      *ead-only*) why="$why $1:read-only";; *) why="$why $1:not-writable";; esac; fi
    return 1
  }
  private "$dir" || { rm -rf -- "$dir"; dir=; why="$why $1:unsafe"; return 1; }
  err=$( { printf '#!/bin/sh\nexit 0\n' > "$dir/x" && chmod 700 "$dir/x"; } 2>&1 ) || {
    rm -rf -- "$dir"; dir=; why="$why $1:full"; return 1
  }
  "$dir/x" >/dev/null 2>&1 || { rm -rf -- "$dir"; dir=; why="$why $1:noexec"; return 1; }
  rm -f -- "$dir/x"
  free=$(df -Pk -- "$dir" 2>/dev/null | awk 'NR==2 {print $4}' 2>/dev/null)
  case $free in ''|*[!0-9]*) return 0;; esac
  [ "$free" -ge @KIB@ ] || { rm -rf -- "$dir"; dir=; why="$why $1:full"; return 1; }
}
place() {
  for d in ` + payloadPlaces + `; do usable "$d" && return 0; done
  return 1
}
cache=
if [ "$keep" = true ] && [ -n "$HOME" ] && [ -d "$HOME" ]; then
  cache=$HOME/.cache/fleetctl
  ( umask 077; mkdir -p -- "$cache" ) 2>/dev/null
  if [ -d "$cache" ] && [ ! -L "$cache" ] && [ -O "$cache" ] && safe "$cache"; then
    cache=$real f=$real/@NAME@-@SUM@
    case $(ls -ldn -- "$f" 2>/dev/null) in -rwx?-??-?*) ;; *) f=;; esac
    if [ -n "$f" ] && [ -O "$f" ] && [ "$(sum "$f")" = @SUM@ ]; then cache=; else f=; fi
  else
    cache=
  fi
fi
if [ -z "$f" ]; then
  limit=$(ulimit -f)
  case $limit in *[!0-9]*|'') ;; # unlimited; else in 512 bytes, or twice that
  *) [ $((limit / 2)) -ge @KIB@ ] || fail limit "a file may have $limit blocks (ulimit -f)";;
  esac
  place || fail nodir "${why# }"
  f=$dir/@NAME@
  say NEED
  ( umask 077; : > "$f" )
  receive @SIZE@ "$f"
  if [ "$(size "$f")" -ne @SIZE@ ]; then
    full && fail full "$base $err"
    fail short "$err"
  fi
  got=$(sum "$f") || fail notool "no sha256sum, shasum, openssl or busybox"
  [ "$got" = @SUM@ ] || fail sum
  chmod 700 "$f"
  if [ -n "$cache" ] && mv -f -- "$f" "$cache/@NAME@-@SUM@" 2>/dev/null; then
    f=$cache/@NAME@-@SUM@
    "$f" -fleetctl-noexec-test >/dev/null 2>&1 </dev/null
    [ $? -ne 126 ] || { cp -- "$f" "$dir/@NAME@" && rm -f -- "$f" && f=$dir/@NAME@; }
  fi
fi
`
