// Package inventories compares fleetctl with ansible-inventory on inventories of public projects, which stand in sources.txt. Nothing
// of them is kept here: "make inventories" brings the commits that are named.
package inventories
