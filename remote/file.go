package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// WriteFile writes a file: temp file in the same directory, 0600, SHA-256 check, chmod, chown, rename.
//
// What may surprise: the directory must be there; the file becomes a new one, so that hard links part, and access lists
// and attributes of the old one are lost; a path that is a symbolic link or a directory is refused, never followed or
// replaced; whatever fails, the old file is untouched and the temp file removed. Nothing but POSIX tools and one of
// sha256sum, shasum, openssl and busybox is needed.
func (c *Conn) WriteFile(ctx context.Context, f File, become bool) error {
	if !path.IsAbs(f.Path) || strings.HasSuffix(f.Path, "/") || strings.ContainsRune(f.Path, 0) {
		return &Error{Kind: ErrConfig, Err: fmt.Errorf("%q is not an absolute file name", Clean(f.Path))}
	}
	if f.Mode&^0o7777 != 0 {
		return &Error{Kind: ErrConfig, Err: fmt.Errorf("mode %o is not permission bits", f.Mode)}
	}
	sum := sha256.Sum256(f.Content)
	owner := f.Owner
	if f.Group != "" {
		owner += ":" + f.Group
	}
	temp := path.Join(path.Dir(f.Path), ".fleetctl-"+randomHex(16)+".tmp")
	setup := strings.NewReplacer(
		"@PATH@", Quote(f.Path), "@DIR@", Quote(path.Dir(f.Path)), "@TEMP@", Quote(temp),
		"@SIZE@", fmt.Sprint(len(f.Content)), "@SUM@", hex.EncodeToString(sum[:]),
		"@MODE@", fmt.Sprintf("%04o", f.Mode), "@OWNER@", Quote(owner),
	).Replace(receiveText + fileText)
	sent := false
	p, err := c.start(ctx, launch{
		setup: setup, leaves: "rm -rf -- " + Quote(temp), body: ":", become: become,
		feed: func(proc *Process, word, text string) error {
			if word == wordNeed && !sent {
				sent = true
				if err := paced(ctx, proc.Stdin, f.Content); err != nil && !errors.Is(err, io.EOF) {
					return err
				}
				return nil
			}
			return fileFailure(word, text)
		},
	})
	if err != nil {
		return err
	}
	_ = p.Stdin.Close()
	_, _, err = p.Wait()
	return err
}

// fileFailure sorts the words of a FAIL.
func fileFailure(word, text string) error {
	if word != wordFail {
		return &Error{Kind: ErrDisconnected, Err: fmt.Errorf("unexpected word %q", Clean(word))}
	}
	why, text, _ := strings.Cut(text, " ")
	said := errors.New(cmp.Or(Line(text), why))
	switch why {
	case "full":
		return &Error{Kind: ErrNoSpace, Err: said, Hint: "make room on the host"}
	case "sum":
		return &Error{Kind: ErrDisconnected, Err: errors.New("what arrived is not what was sent (SHA-256)")}
	case "link":
		return &Error{Kind: ErrFile, Err: said, Hint: "remove the symbolic link, or name its target"}
	case "notool":
		return &Error{Kind: ErrFile, Err: said, Hint: "install coreutils, busybox or openssl on the host"}
	}
	return &Error{Kind: ErrFile, Err: said}
}

// fileText is the setup of WriteFile; READY means that the file is in place. It is made beside its target. Where others may write
// there, it is made in a directory that is ours alone, and from within: whoever may write to the target's directory can move
// ours away, but cannot put a symbolic link in the file's place for chown and chmod to follow. set -C opens with O_EXCL, which
// follows no symbolic link.
const fileText = privateText + `
p=@PATH@ d=@DIR@
[ -d "$d" ] || fail nodir "$d is not a directory"
[ ! -L "$p" ] || fail link "$p is a symbolic link"
[ ! -d "$p" ] || fail isdir "$p is a directory"
made=@TEMP@
if safe "$d"; then t=${real%/}/${made##*/} made= dir=$t
else
  t=./file
  err=$( (umask 077 && mkdir -m 700 -- "$made") 2>&1 ) || { full && fail full "$err"; fail write "$err"; }
  dir=$made
  cd -P -- "$made" && private . || fail write "$made is not ours"
fi
err=$( (umask 077; set -C; : > "$t") 2>&1 ) || { full && fail full "$err"; fail write "$err"; }
say NEED
receive @SIZE@ "$t"
[ "$(size "$t")" -eq @SIZE@ ] || { full && fail full "$err"; fail write "${err:-the connection ended}"; }
got=$(sum "$t") || fail notool "no sha256sum, shasum, openssl or busybox"
[ "$got" = @SUM@ ] || fail sum
[ -z @OWNER@ ] || err=$(chown -h -- @OWNER@ "$t" 2>&1) || fail owner "$err"
err=$(chmod @MODE@ "$t" 2>&1) || fail mode "$err"
if mv -fT -- "$t" "$p" 2>/dev/null; then :
else
  [ ! -d "$p" ] && [ ! -L "$p" ] || fail isdir "$p is in the way"
  err=$(mv -f -- "$t" "$p" 2>&1) || fail rename "$err"
fi
cd /
[ -z "$made" ] || rm -rf -- "$made"
dir=
`
