package enroll

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAHookEndsWithWhatItStarted(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := runHook(ctx, "(sleep 1; touch "+mark+") & wait", HookInput{Hook: "before_host"})
	if !errors.Is(err, errHook) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	time.Sleep(1200 * time.Millisecond) // longer than the child would have slept
	if _, err := os.Stat(mark); err == nil {
		t.Error("what the hook started lived on")
	}
}

func TestAHookThatLeavesAChildWithItsOutputDoesNotHang(t *testing.T) {
	t.Parallel()
	start := time.Now()
	if err := runHook(t.Context(), "sleep 1000 & echo done", HookInput{Hook: "after_host"}); err != nil || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestTheEndOfWhatAHookSaidIsShown(t *testing.T) {
	t.Parallel()
	err := runHook(t.Context(), "head -c 1000000 /dev/zero | tr '\\0' x; echo the reason; exit 3", HookInput{Hook: "before_host"})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "the reason") {
		t.Errorf("got %.100v", err)
	}
}
