package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/loop"
)

// identity is who the process is to be.
type identity struct {
	name     string // of the user, for messages
	uid, gid int    // -1: as it is
	groups   []int  // nil: as they are
}

// findIdentity looks up what a configuration says about user and group.
func findIdentity(p loop.Privileges) (identity, error) {
	id := identity{name: p.User, uid: -1, gid: -1}
	if p.User != "" {
		u, err := user.Lookup(p.User)
		if err != nil {
			if _, number := strconv.Atoi(p.User); number != nil {
				return id, fmt.Errorf("server.user: %w", err)
			}
			u, err = user.LookupId(p.User)
		}
		if err == nil {
			id.uid, id.gid, id.groups, err = numbers(u)
			if err != nil {
				return id, fmt.Errorf("server.user: %s: %w", p.User, err)
			}
		} else {
			// A number that nobody has a name for: containers run as such.
			if id.uid, err = accountNumber(p.User); err != nil {
				return id, fmt.Errorf("server.user: %w", err)
			}
			id.gid, id.groups = id.uid, []int{id.uid}
			if p.Group == "" {
				return id, fmt.Errorf("server.user: %s has no entry, so that its group is not known: set server.group", p.User)
			}
		}
	}
	if p.Group != "" {
		gid, err := findGroup(p.Group)
		if err != nil {
			return id, fmt.Errorf("server.group: %w", err)
		}
		if id.groups = slices.DeleteFunc(id.groups, func(g int) bool { return g == id.gid || g == gid }); p.User == "" {
			id.groups = nil
		}
		id.gid, id.groups = gid, append([]int{gid}, id.groups...)
	}
	return id, nil
}

func numbers(u *user.User) (uid, gid int, groups []int, err error) {
	texts, err := u.GroupIds()
	if err != nil {
		return -1, -1, nil, err
	}
	if uid, err = accountNumber(u.Uid); err != nil {
		return -1, -1, nil, err
	}
	if gid, err = accountNumber(u.Gid); err != nil {
		return -1, -1, nil, err
	}
	for _, text := range texts {
		g, err := accountNumber(text)
		if err != nil {
			return -1, -1, nil, err
		}
		groups = append(groups, g)
	}
	return uid, gid, groups, nil
}

func findGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return accountNumber(g.Gid)
	}
	if gid, wrong := accountNumber(name); wrong == nil {
		return gid, nil
	}
	return -1, err
}

// accountNumber reads a number of a user or group. The largest one is none: the system calls take it for "as it is".
func accountNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return -1, fmt.Errorf("%q is not the number of a user or group", s)
	}
	return int(n), nil
}

// become makes the process what id says, all threads of it, and makes sure that there is no way back. The access log at
// path, if it is a file, goes with it.
func (id identity) become(path string, log *slog.Logger) error {
	if id.uid < 0 && id.gid < 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		if (id.uid < 0 || id.uid == os.Geteuid()) && (id.gid < 0 || id.gid == os.Getegid()) {
			return nil // there is nothing to give up
		}
		return errors.New("server.user and server.group need the process to be started as root")
	}
	if err := id.takeAlong(path); err != nil {
		return err
	}
	// In this order: without root the others are not allowed. syscall's calls are for all threads, those of x/sys for one.
	if id.groups != nil {
		if err := syscall.Setgroups(id.groups); err != nil {
			return os.NewSyscallError("setgroups", err)
		}
	}
	if id.gid >= 0 {
		if err := syscall.Setresgid(id.gid, id.gid, id.gid); err != nil {
			return os.NewSyscallError("setresgid", err)
		}
	}
	if id.uid >= 0 {
		if err := syscall.Setresuid(id.uid, id.uid, id.uid); err != nil {
			return os.NewSyscallError("setresuid", err)
		}
		if id.uid != 0 && syscall.Setresuid(-1, 0, -1) == nil {
			return errors.New("server.user: the process can become root again")
		}
	}
	id.warn(path, log)
	return nil
}

// takeAlong gives the access log to the new user, so that it can be opened again.
func (id identity) takeAlong(path string) error {
	info, err := os.Lstat(path)
	if path == "" || err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if err := os.Lchown(path, id.uid, id.gid); err != nil {
		return fmt.Errorf("server.user: the access log: %w", err)
	}
	return nil
}

// warn says what will not work later on.
func (id identity) warn(path string, log *slog.Logger) {
	if path == "" {
		return
	}
	folder := filepath.Dir(path)
	if err := unix.Faccessat(unix.AT_FDCWD, folder, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		log.Warn("the folder of the access log is not writable for server.user: after a rotation the log cannot be opened anew",
			"folder", folder, "user", id.name, "error", err)
	}
}
