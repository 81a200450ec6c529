package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// disk is a tmpfs. It is filled by making it as small as what is on it, which takes neither time nor
// memory. What is on it survives crashes of PostgreSQL, not of the machine; the log, pg_wal, is elsewhere.
type disk struct {
	dir   string
	admin func() string // the server's address
}

// diskSize is far more than a campaign needs.
const diskSize = "4g"

// mount makes the file system, with a folder that belongs to whoever owns the folder like.
func (d *disk) mount(like string) error {
	owner, err := os.Stat(like)
	if err != nil {
		return fmt.Errorf("look whose %s is: %w", like, err)
	}
	if err := os.Mkdir(d.dir, 0o711); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "mode=0711,size="+diskSize); err != nil {
		return fmt.Errorf("a tmpfs can't be mounted here: %w", err)
	}
	tables := filepath.Join(d.dir, "tables")
	stat := owner.Sys().(*syscall.Stat_t)
	if err := os.Mkdir(tables, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := os.Chown(tables, int(stat.Uid), int(stat.Gid)); err != nil {
		return fmt.Errorf("give the folder to PostgreSQL: %w", err)
	}
	return nil
}

func (d *disk) resize(size string) error {
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, "mode=0711,size="+size); err != nil {
		return fmt.Errorf("make the tmpfs %s: %w", size, err)
	}
	return nil
}

// fillTries is how often the size is asked for: the tables may have grown since.
const fillTries = 20

// Fill leaves no room.
func (d *disk) Fill() error {
	var err error
	for range fillTries {
		var stat syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &stat); err != nil {
			return fmt.Errorf("look how full the tmpfs is: %w", err)
		}
		used := (stat.Blocks - stat.Bfree) * uint64(stat.Bsize) //nolint:gosec // sizes are positive
		if err = d.resize(fmt.Sprint(used)); err == nil {
			return nil
		}
	}
	return err
}

// Free gives the room back.
func (d *disk) Free() error { return d.resize(diskSize) }

func (d *disk) unmount() error {
	// Detached, as files of dropped tables may be open a moment longer.
	if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the tmpfs: %w", err)
	}
	return nil
}
