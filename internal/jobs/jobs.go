// Package jobs carries work through River: what a job is called, what it holds, and thin workers
// that hand it to the domain. River is the alarm clock; what is due, how often it failed and
// what follows stands in our own tables.
package jobs

// Queues. Upkeep has its own, so that it is not held up behind slow receivers, and so has the nightly order,
// whose jobs take minutes. A backup takes longer than all of those: fresh packs must not wait for it.
const (
	QueueDelivery = "delivery"
	QueueUpkeep   = "upkeep"
	QueueNightly  = "nightly"
	QueueBackup   = "backup"
	QueueFetch    = "fetch" // others' servers are waited for
)

// Queues returns all of them.
func Queues() []string {
	return []string{QueueDelivery, QueueUpkeep, QueueNightly, QueueBackup, QueueFetch}
}
