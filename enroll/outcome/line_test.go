package outcome

import (
	"fmt"
	"strings"
	"testing"

	"fleetctl/inventory"
)

func TestMessagesAreOneLine(t *testing.T) {
	said := "first\tword\n\n second\r\nthird\n"
	err := WithHint(fmt.Errorf("step: %s", said), "do\nthis")
	for name, r := range map[string]Reason{
		"of a failure": Failure(t.Context(), inventory.Host{Name: "web-01"}, err).Reason,
		"of an error":  ReasonOf(err),
		"of a text":    Because(StepFailed, err.Error()),
		"of an end":    End("web-01", Failed, StepFailed, err.Error()).Reason,
	} {
		if !strings.HasPrefix(r.Message, "step: first word; second") || strings.ContainsAny(r.Message+r.Hint, "\n\t\r") {
			t.Errorf("%s: %q, hint %q", name, r.Message, r.Hint)
		}
	}
}
