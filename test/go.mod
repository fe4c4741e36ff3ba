module fleetctl/test

go 1.26

require fleetctl v0.0.0

replace fleetctl => ../
