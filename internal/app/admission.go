package app

import (
	"cmp"
	"net"
	"time"

	"github.com/dawsos/dawsos/internal/admission"
)

// gate bounds how many requests are under way. Nearly all of them want a connection to the database for a
// part of their time, so that four for each keep it busy, and more would only stand in line.
func (p *process) gate() *admission.Gate {
	const eachConnection = 4
	return admission.NewGate(admission.GateOptions{
		Ordinary: cmp.Or(p.cfg.MaxConcurrentRequests, eachConnection*p.cfg.DatabasePoolMax), Registerer: p.tel.Registry,
	})
}

// rates bounds how many requests a caller sends; nil does not.
func (p *process) rates() *admission.Rates {
	if p.cfg.RateLimit == 0 {
		return admission.Unlimited(p.tel.Registry)
	}
	return admission.NewRates(admission.RateOptions{
		PerSecond: float64(p.cfg.RateLimit), Burst: cmp.Or(p.cfg.RateBurst, 2*p.cfg.RateLimit), Now: time.Now, Registerer: p.tel.Registry,
	})
}

// refusedBy counts refused credentials by the address that they came from; nil where nothing is limited.
func refusedBy(rates *admission.Rates) func(remote string) error {
	if rates == nil {
		return nil
	}
	return func(remote string) error { return rates.Refused(remote).Err() }
}

func (p *process) boundConnections(l net.Listener) net.Listener {
	return admission.Bound(l, p.cfg.MaxConnections, p.tel.Registry)
}
