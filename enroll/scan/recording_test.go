package scan

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Records that are slow hold up a run that goes on; of one that was ended they have a while.
func TestSlowRecordsEndNoRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, stop := context.WithCancel(t.Context())
		ctx, done := recording(run)
		defer done()
		time.Sleep(10 * toRecord)
		if ctx.Err() != nil {
			t.Error("the records' time is over while the run goes on")
		}
		stop()
		time.Sleep(toRecord - time.Second)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Error("the records' time is over at once")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("a run that was ended waits for its records without end")
		}
	})
}
