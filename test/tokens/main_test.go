package tokens

import (
	"encoding/json"
	"fmt"
	"os"

	"gopkg.in/yaml.v3"
)

// init lets the scripts of the tests turn YAML into JSON, which no shell can: they run this binary with the name of a
// file in the environment.
func init() {
	file := os.Getenv("FLEETCTL_TEST_YAML2JSON")
	if file == "" {
		return
	}
	var doc map[string]any
	data, err := os.ReadFile(file) //nolint:gosec // a file of the tests
	if err == nil {
		err = yaml.Unmarshal(data, &doc)
	}
	if err == nil {
		data, err = json.Marshal(doc)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(data))
	os.Exit(0)
}
