package main

import (
	"io"
	"strings"

	"github.com/schollz/progressbar/v3"
)

// bar draws how much of something is done, beside what is said of it; nil draws nothing.
type bar struct{ *progressbar.ProgressBar }

// barSteps is how fine it is, and barWidth how wide.
const (
	barSteps = 1000
	barWidth = 16
)

func newBar(ascii bool) bar {
	theme := progressbar.ThemeDefault
	if ascii {
		theme = progressbar.ThemeASCII
	}
	return bar{progressbar.NewOptions(barSteps+1, // it has no words any more once it is full
		progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetWidth(barWidth), progressbar.OptionSetTheme(theme),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false))}
}

// at is the bar at a fraction, with what separates it from the words behind it.
func (b bar) at(fraction float64) string {
	if b.ProgressBar == nil {
		return ""
	}
	_ = b.Set(int(fraction * barSteps)) // it writes nowhere
	return strings.TrimSpace(b.String()) + "  "
}
