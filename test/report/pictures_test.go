package report

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestPictures takes pictures of the page for somebody to look at: REPORT_PICTURES=DIR go test ./report -run Pictures.
func TestPictures(t *testing.T) {
	dir := os.Getenv("REPORT_PICTURES")
	if dir == "" {
		t.Skip("REPORT_PICTURES names no directory")
	}
	for _, hosts := range []int{20, 20_000} {
		file := writePage(t, hosts)
		for _, look := range []struct {
			name          string
			width, height int64
			scheme        string
		}{{"light", 1400, 1000, "light"}, {"dark", 1400, 1000, "dark"}, {"phone", 390, 844, "light"}} {
			b := startBrowser(t, int(look.width), int(look.height))
			b.do(chromedp.EmulateViewport(look.width, look.height))
			call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}})
			b.open(file)
			for _, part := range []string{"", "numbers", "issuers", "log", "hosts"} {
				b.picture(filepath.Join(dir, fmt.Sprintf("%d-%s-%s.png", hosts, look.name, part)), part)
			}
		}
		if hosts > 1000 {
			continue // nobody prints so many, and Chromium takes minutes for it
		}
		b := startBrowser(t, 1400, 1000)
		b.open(file)
		b.print(filepath.Join(dir, fmt.Sprintf("%d.pdf", hosts)))
	}
}

// picture takes one of what is seen when the page was scrolled to an element.
func (b *browser) picture(name, id string) {
	b.tb.Helper()
	if id != "" {
		b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.getElementById(%q).scrollIntoView()", id)))
	}
	png := get(b, chromedp.CaptureScreenshot())
	if err := os.WriteFile(name, png, 0o600); err != nil {
		b.tb.Fatal(err)
	}
}

// print prints the page, as it is, into a file.
func (b *browser) print(name string) {
	b.tb.Helper()
	pdf := get(b, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize(), chromedp.PDFStream()))
	if err := os.WriteFile(name, pdf, 0o600); err != nil {
		b.tb.Fatal(err)
	}
}
