package inventory

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

const benchHosts = 100_000

// benchInventory writes 100,000 hosts with four variables each, in 40 groups, with group_vars. The JSON has a group a
// host besides, as inventories of clouds have.
func benchInventory(b *testing.B, format string) (source, dir string) {
	b.Helper()
	dir = b.TempDir()
	var text strings.Builder
	name := "hosts." + format
	switch format {
	case "yaml":
		benchYAML(&text)
	case "ini":
		benchINI(&text)
	case "json":
		benchJSON(&text)
	}
	for path, data := range map[string]string{
		name:                 text.String(),
		"group_vars/all.yml": "ansible_user: admin\nntp: [a, b]\nsite: {name: x}\n",
		"group_vars/rack7":   "row: 7\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return filepath.Join(dir, name), dir
}

func benchName(i int) string { return fmt.Sprintf("web%06d.example.com", i) }

func benchAddress(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) }

func benchYAML(w *strings.Builder) {
	w.WriteString("all:\n  children:\n")
	for dc := range 3 {
		fmt.Fprintf(w, "    dc%d:\n      children:\n", dc)
		for rack := dc; rack < 40; rack += 3 {
			fmt.Fprintf(w, "        rack%d:\n          hosts:\n", rack)
			for i := rack; i < benchHosts; i += 40 {
				fmt.Fprintf(w, "            %s:\n              ansible_host: %s\n              ansible_port: 2222\n"+
					"              serial: SN-%d\n              tpm_device: /dev/tpmrm0\n", benchName(i), benchAddress(i), i)
			}
		}
	}
}

func benchINI(w *strings.Builder) {
	for rack := range 40 {
		fmt.Fprintf(w, "[rack%d]\n", rack)
		for i := rack; i < benchHosts; i += 40 {
			fmt.Fprintf(w, "%s ansible_host=%s ansible_port=2222 serial=SN-%d tpm_device=/dev/tpmrm0\n", benchName(i), benchAddress(i), i)
		}
	}
	for dc := range 3 {
		fmt.Fprintf(w, "[dc%d:children]\n", dc)
		for rack := dc; rack < 40; rack += 3 {
			fmt.Fprintf(w, "rack%d\n", rack)
		}
	}
}

func benchJSON(w *strings.Builder) {
	w.WriteString(`{"_meta": {"hostvars": {`)
	for i := range benchHosts {
		if i > 0 {
			w.WriteString(",\n")
		}
		fmt.Fprintf(w, `"%s": {"ansible_host": "%s", "ansible_port": 2222, "serial": "SN-%d", "tpm_device": "/dev/tpmrm0"}`,
			benchName(i), benchAddress(i), i)
	}
	w.WriteString("}}")
	for i := range benchHosts {
		fmt.Fprintf(w, ",\n"+`"i_%06d": ["%s"]`, i, benchName(i))
	}
	for rack := range 40 {
		fmt.Fprintf(w, ",\n"+`"rack%d": {"hosts": [`, rack)
		for i := rack; i < benchHosts; i += 40 {
			if i > rack {
				w.WriteString(", ")
			}
			fmt.Fprintf(w, `"%s"`, benchName(i))
		}
		w.WriteString("]}")
	}
	w.WriteString("}")
}

// BenchmarkLoadAndSelect reads 100,000 hosts and selects all of them, with their variables resolved. peak-MB is the most
// memory that the process held (VmHWM of /proc), with everything that the runtime keeps for itself.
func BenchmarkLoadAndSelect(b *testing.B) {
	for _, format := range []string{"yaml", "ini", "json"} {
		b.Run(format, func(b *testing.B) {
			source, dir := benchInventory(b, format)
			peak := 0.0
			for b.Loop() {
				b.StopTimer()
				resetPeak(b)
				b.StartTimer()
				inv, err := Load(context.Background(), []string{source}, Options{PlaybookDir: dir})
				if err != nil {
					b.Fatal(err)
				}
				hosts, err := inv.Select("all", "*.example.com")
				if err != nil || len(hosts) != benchHosts || hosts[7].Vars["ansible_user"] != "admin" {
					b.Fatalf("%d hosts, %v", len(hosts), err)
				}
				b.StopTimer()
				peak = max(peak, peakMB(b))
				b.StartTimer()
			}
			b.ReportMetric(peak, "peak-MB")
		})
	}
}

// resetPeak gives unused memory back and makes the kernel forget the peak so far.
func resetPeak(b *testing.B) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Logf("peak-MB includes earlier runs: %v", err)
	}
}

// peakMB is VmHWM of this process.
func peakMB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skipf("no /proc: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}
