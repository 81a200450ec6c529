package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/dawsos/dawsos/internal/backup"
)

// Backups makes verified backups.
type Backups interface {
	Run(ctx context.Context) (backup.Report, error)
}

// BackupWorker works BackupArgs.
type BackupWorker struct {
	river.WorkerDefaults[BackupArgs]
	backups Backups
	off     string
}

// NewBackupWorker returns the worker. off says why there are no backups, "" when there are.
func NewBackupWorker(b Backups, off string) *BackupWorker { return &BackupWorker{backups: b, off: off} }

// Timeout implements river.Worker.
func (*BackupWorker) Timeout(*river.Job[BackupArgs]) time.Duration { return backupTime }

// Work makes one backup.
func (w *BackupWorker) Work(ctx context.Context, _ *river.Job[BackupArgs]) error {
	if w.off != "" {
		NotesOf(ctx).Skip(w.off)
		return nil
	}
	report, err := w.backups.Run(ctx)
	NotesOf(ctx).Detail(report)
	return err
}
