// Package life simulates whole fleets over years: random histories of commands over machines, records, clusters and
// people, with faults at every store commit, call of tctl and step on a host, held against the invariants of the life of a
// rule after every event. What it runs is the code that ships (the use cases of enroll with the store, the planner, the
// differ, the publisher and the scripts for hosts); what it stands in for are the cluster (memcluster), the hosts
// (enrolltest, without the SSH between), time, and everybody who can fail.
//
//	go test ./life                                   # 200 histories, the same each time
//	go test ./life -life.histories=20000 -rapid.seed=0 # others each time; "make life HISTORIES=20000"
//	go test ./life -life.replay='[…]'                # one history, as a failure prints it
//
// testdata/found has histories in which something was found that is mended: they are lived again in each run.
package life
