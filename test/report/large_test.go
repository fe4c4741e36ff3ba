package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// frame is the moment when what was done is on the screen.
const frame = `new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))`

// BenchmarkTwentyThousandHosts is how long somebody waits for a page of 20,000 hosts: until it is there, until a filter has
// found, until the filter is gone, and until another column is in order. Times are the browser's own, from the key or the click to
// the frame that shows it, with the pause of the field for more keys.
func BenchmarkTwentyThousandHosts(b *testing.B) {
	file := writePage(b, 20_000)
	b.ResetTimer()
	for range b.N {
		br := startBrowser(b, 1400, 1000)
		call(br, page.Enable, page.EnableParams{})
		br.open(file)
		b.ReportMetric(eval[float64](br, frame), "ms/open")
		b.ReportMetric(br.until(`type("web-00012")`, ` === "1 of 20,002 hosts"`), "ms/find")
		b.ReportMetric(br.until(`type("")`, `.startsWith("20,002 hosts")`), "ms/all")
		b.ReportMetric(br.until(`type("accepted")`, `.match(/^\d+,\d+ of/)`), "ms/most")
		b.ReportMetric(br.until(`document.querySelectorAll("#host-table thead button")[1].click()`, ``), "ms/sort")
	}
}

// until does something and returns how many milliseconds went by until the count has a text, and that is on the screen.
func (b *browser) until(do, count string) float64 {
	b.tb.Helper()
	script := fmt.Sprintf(`(async () => {
	const type = (text) => {
		const field = document.getElementById("filter");
		field.value = text;
		field.dispatchEvent(new InputEvent("input"));
	};
	const began = performance.now();
	%s;
	while (!(%s%s)) await new Promise((done) => setTimeout(done, 5));
	return await %s - began;
})()`, do, countText, count, frame)
	return eval[float64](b, script)
}

// TestALargeFleetShowsItsFirstRows: on the screen are 100 rows of those that are found, and twice as many on demand; on paper all.
func TestALargeFleetShowsItsFirstRows(t *testing.T) {
	t.Parallel()
	file := writePage(t, 1_200)
	b := startBrowser(t, 1400, 1000)
	b.open(file)
	const visible = `[...document.querySelectorAll("#host-table tbody tr")].filter((e) => e.checkVisibility()).length`
	if n, count := eval[int](b, visible), eval[string](b, countText); n != 100 || count != "1,202 hosts, the first 100 are shown" {
		t.Errorf("%d rows are shown, and the count says %q", n, count)
	}
	b.do(chromedp.Focus("#more"), chromedp.KeyEvent(kb.Enter))
	if n := eval[int](b, visible); n != 200 {
		t.Errorf("%d rows are shown after asking for more", n)
	}
	b.do(chromedp.Focus("#filter"), chromedp.KeyEvent("new-002"))
	b.wait(countText + ` === "1 of 1,202 hosts"`)
	if got := eval[[]string](b, shownHosts); !slices.Equal(got, []string{"new-002"}) {
		t.Errorf("%q are shown", got)
	}
	b.do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, len("new-002"))))
	b.wait(countText + `.startsWith("1,202 hosts")`)
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	b.wait(visible + ` === 1202`)
	printed := eval[[]string](b, rowTexts)

	// Who has no script has the same rows, in the same order.
	bare := startBrowser(t, 1400, 1000)
	call(bare, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	bare.open(file)
	if n := eval[int](bare, strings.ReplaceAll(visible, "#host-table", ".hosts")); n != 1202 {
		t.Errorf("%d rows are shown without a script", n)
	}
	if rows := eval[[]string](bare, rowTexts); !slices.Equal(rows, printed) {
		t.Errorf("rows without a script: %d, the first %q\nwith one: %d, the first %q", len(rows), rows[:2], len(printed), printed[:2])
	}
}

// rowTexts are the cells of all rows of hosts.
const rowTexts = `[...document.querySelectorAll(".hosts tbody tr")].map((e) => [...e.cells].map((c) => c.textContent.trim()).join("|"))`
